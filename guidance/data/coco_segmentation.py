"""The outlines of COCO's objects: checked, packed and drawn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

# pycocotools walks along an outline in steps of a fifth of a pixel and keeps 16 bytes for each.
_LONGEST_OUTLINE = 2e6
_FARTHEST = 1e7
_IMPOSSIBLE = "its polygon has an impossible coordinate"
_LARGEST_RUN = 2**31 - 1
# A compressed run length has five bits a character; more of them cannot be one.
_MOST_CHARACTERS = 7


class Segmentation(NamedTuple):
    """What the file says of one object's pixels.

    Attributes:
        polygons: x and y in turn, in pixels, float32 [2 * corners] each.
        runs: Alternating lengths outside and inside the object, down the columns, int32 [R]; None if it has
            polygons, or nothing.
        size: (height, width) that the runs fill.
        problems: What of it is not used, and why.
    """

    polygons: tuple[NDArray[np.float32], ...] = ()
    runs: NDArray[np.int32] | None = None
    size: tuple[int, int] | None = None
    problems: tuple[str, ...] = ()


_NOTHING = Segmentation()


def parse_segmentation(value: Any) -> Segmentation:
    """Check and pack the value of ``"segmentation"``, whatever it is.

    Args:
        value: A list of polygons, each a list of numbers; or run lengths, ``{"size": [height, width],
            "counts": ...}`` with a list of integers or COCO's compressed text; or nothing.

    Returns:
        What can be drawn without harm; the rest is among its ``problems``.
    """
    if value is None or value == []:
        return _NOTHING
    if isinstance(value, dict):
        return _parse_runs(value)
    if not isinstance(value, list) or not all(isinstance(polygon, list) for polygon in value):
        return Segmentation(problems=("its segmentation is neither polygons nor run lengths",))
    polygons, problems = [], []
    for numbers in value:
        polygon, problem = _parse_polygon(numbers)
        if polygon is not None:
            polygons.append(polygon)
        elif problem not in problems:
            problems.append(problem)
    return Segmentation(tuple(polygons), problems=tuple(problems))


def _parse_polygon(numbers: list[Any]) -> tuple[NDArray[np.float32] | None, str]:
    """Return a polygon, or None and why it cannot be drawn."""
    if not {int, float}.issuperset(map(type, numbers)):
        return None, "its polygon has a coordinate that is not a number"
    if len(numbers) < 6:
        return None, "its polygon has fewer than three corners"
    if len(numbers) % 2:
        return None, "its polygon has a corner without y"
    try:
        coordinates = np.array(numbers, dtype=np.float64)
    except OverflowError:  # an integer of hundreds of digits
        return None, _IMPOSSIBLE
    farthest = max(float(coordinates.max()), -float(coordinates.min()))
    if not farthest <= _FARTHEST:  # written so that a nan is refused
        return None, _IMPOSSIBLE
    if len(numbers) * farthest > _LONGEST_OUTLINE:  # else the outline cannot be that long
        corners = coordinates.reshape(-1, 2)
        if np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum() > _LONGEST_OUTLINE:
            return None, f"its polygon's outline is longer than {_LONGEST_OUTLINE:,.0f} pixels"
    return coordinates.astype(np.float32), ""


def _parse_runs(value: dict[str, Any]) -> Segmentation:
    """Return run lengths that fill their size exactly."""
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or [type(side) for side in size] != [int, int] or min(size) < 1:
        return Segmentation(problems=("its run lengths have no size",))
    height, width = size
    lengths: list[int] | None = None
    if isinstance(counts, str):
        lengths = _decompress(counts)
    elif isinstance(counts, list) and {int}.issuperset(map(type, counts)):
        lengths = counts
    if lengths is None:
        return Segmentation(problems=("its run lengths are broken",))
    fills = len(lengths) > 0 and min(lengths) >= 0 and max(lengths) <= min(height * width, _LARGEST_RUN)
    if not fills or sum(lengths) != height * width:
        return Segmentation(problems=("its run lengths do not fill its size",))
    return Segmentation(runs=np.array(lengths, dtype=np.int32), size=(height, width))


def _decompress(text: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed text, None if it is not that.

    Each is written in groups of five bits, the lowest first, with a mark on all but the last group, and from
    the fourth on as the difference to the length before the previous one.
    """
    if not text or not text.isascii():
        return None
    codes = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - 48
    last = (codes & 32) == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        return None
    ends = np.flatnonzero(last) + 1
    starts = np.concatenate([[0], ends[:-1]])
    characters = ends - starts
    if characters.max() > _MOST_CHARACTERS:
        return None
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, characters))
    lengths = np.add.reduceat((codes & 31) << shifts, starts)
    lengths -= ((codes[ends - 1] & 16) != 0).astype(np.int64) << (5 * characters)  # two's complement
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return [int(length) for length in lengths]


class Segmentations:
    """The segmentations of M objects in a few flat tensors, which worker processes share.

    Attributes:
        drawable: Whether an object has anything to draw, bool [M].
        problems: Of the objects that have any.

    Args:
        items: Of the M objects.
    """

    def __init__(self, items: Sequence[Segmentation]) -> None:
        self.drawable = torch.tensor(
            [bool(item.polygons) or item.runs is not None for item in items], dtype=torch.bool
        )
        self.problems = {number: item.problems for number, item in enumerate(items) if item.problems}
        polygons = [polygon for item in items for polygon in item.polygons]
        runs = [item.runs for item in items if item.runs is not None]
        self._coordinates = torch.from_numpy(np.concatenate([np.zeros(0, np.float32), *polygons]))
        self._polygon_ends = _ends([len(polygon) for polygon in polygons])
        self._object_polygon_ends = _ends([len(item.polygons) for item in items])
        self._runs = torch.from_numpy(np.concatenate([np.zeros(0, np.int32), *runs]))
        self._object_run_ends = _ends([0 if item.runs is None else len(item.runs) for item in items])

    def draw(self, objects: Sequence[int], size: tuple[int, int]) -> Tensor:
        """Draw the union of some objects.

        Args:
            objects: Their numbers.
            size: (height, width) of their image; that of their runs, if they have any.

        Returns:
            bool [height, width].
        """
        height, width = size
        drawn = torch.zeros(height, width, dtype=torch.bool)
        polygons = [polygon for number in objects for polygon in self._polygons(number)]
        if polygons:
            union = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))["counts"].decode()
            drawn |= _fill(torch.tensor(_decompress(union)), size)
        for number in objects:
            runs = self._runs[slice(*_bounds(self._object_run_ends, number))]
            if len(runs):
                drawn |= _fill(runs, size)
        return drawn

    def _polygons(self, number: int) -> list[list[float]]:
        found = []
        for polygon in range(*_bounds(self._object_polygon_ends, number)):
            coordinates = self._coordinates[slice(*_bounds(self._polygon_ends, polygon))].numpy()
            # As float32, 100.1 is 100.099998, which pycocotools rounds to another fifth of a pixel.
            found.append(coordinates.astype(np.float64).round(3).tolist())
        return found


def _fill(runs: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw run lengths, which go down the columns: bool [height, width]."""
    inside = torch.arange(len(runs)) % 2 == 1
    return inside.repeat_interleave(runs).reshape(size[1], size[0]).T


def _ends(lengths: Sequence[int]) -> Tensor:
    return torch.tensor(lengths, dtype=torch.int64).cumsum(0)


def _bounds(ends: Tensor, number: int) -> tuple[int, int]:
    return (int(ends[number - 1]) if number else 0), int(ends[number])
