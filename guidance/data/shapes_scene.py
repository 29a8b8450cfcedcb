"""One scene of the embedded data set: background, cues, clutter, objects and an occluder."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guidance.data.shapes_objects import (
    NOBODY,
    SHAPES,
    Floats,
    Integers,
    Mask,
    Owners,
    mask_boxes,
    object_masks,
    place_objects,
)

CUE_AREA = (0.15, 0.19)
"""Range of a cue's area, as a part of the image."""

CUE_COLOURS = np.array(
    [(205, 60, 60), (60, 165, 75), (65, 95, 205), (205, 180, 50), (165, 70, 185), (50, 175, 185)], np.float64
)
"""The colour of each class's cue, RGB [K, 3]."""


@dataclass(frozen=True)
class Scene:
    """A drawn image and where its objects are visible.

    Attributes:
        image: RGB, uint8 [3, S, S].
        owners: The number of the object seen at each pixel, or ``NOBODY``, int8 [S, S].
        object_classes: The class of each object, int64 [M].
        cues: The classes whose background cue is shown, bool [K].
    """

    image: npt.NDArray[np.uint8]
    owners: Owners
    object_classes: Integers
    cues: Mask

    def object_masks(self) -> Mask:
        """Return the visible pixels of each object, bool [M, S, S]."""
        return object_masks(self.owners, len(self.object_classes))


def draw_scene(rng: np.random.Generator, size: int, correlation: float) -> Scene:
    """Draw one scene of one to four objects of one to four classes.

    Args:
        rng: The only source of randomness.
        size: S, width and height in pixels.
        correlation: Probability that a present class's cue is shown; 1 minus that for an absent class.
    """
    labels, textures, owners = place_objects(rng, size)
    scene_masks = object_masks(owners, len(labels))
    boxes = mask_boxes(scene_masks)
    present = np.isin(np.arange(len(SHAPES)), labels)
    cues = rng.random(len(SHAPES)) < np.where(present, correlation, 1 - correlation)

    rows, columns = np.mgrid[0:size, 0:size] / size - 0.5
    slope = rng.uniform(-25, 25, 2)
    grey = rng.uniform(95, 160) + slope[0] * columns + slope[1] * rows
    canvas = grey[:, :, None] + rng.uniform(-12, 12, 3)
    _draw_cues(canvas, rng, cues, boxes, labels)
    _draw_clutter(canvas, rng, columns, rows)
    for mask, texture in zip(scene_masks, textures, strict=True):
        colours = np.stack([rng.uniform(20, 105, 3), rng.uniform(145, 235, 3)])[rng.permutation(2)]
        canvas[mask] = colours[texture[mask].astype(np.int64)]
    occluder = owners == len(labels)
    canvas[occluder] = rng.uniform(80, 180, 3)
    canvas += rng.integers(-9, 10, canvas.shape)
    image = np.ascontiguousarray(canvas.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
    return Scene(image, np.where(occluder, np.int8(NOBODY), owners), labels, cues)


def _draw_cues(
    canvas: Floats,
    rng: np.random.Generator,
    cues: Mask,
    boxes: Integers,
    labels: Integers,
) -> None:
    """Draw each shown cue at that of 32 random places which overlaps its own class's boxes least."""
    size = len(canvas)
    drawn = np.zeros((0, 4), np.int64)
    for label in rng.permutation(np.flatnonzero(cues)):
        side, stretch = size * np.sqrt(rng.uniform(*CUE_AREA)), rng.uniform(0.87, 1.15)
        width, height = round(side * stretch), round(side / stretch)
        left, top = rng.integers(0, size - width + 1, 32), rng.integers(0, size - height + 1, 32)
        places = np.stack([left, top, left + width, top + height], axis=1)
        # Own boxes first; then other cues, so that one rarely hides another.
        cost = _overlap(places, boxes[labels == label]) * size * size + _overlap(places, drawn)
        best = places[cost.argmin()]
        drawn = np.concatenate([drawn, best[None]])
        x0, y0, x1, y1 = best
        patch = canvas[y0:y1, x0:x1]
        patch *= 0.15
        patch += 0.85 * CUE_COLOURS[label] + rng.uniform(-12, 12)


def _overlap(places: Integers, boxes: Integers) -> Integers:
    """Return the area that each place shares with all boxes, int64 [P], for xyxy [P, 4] and [M, 4]."""
    low = np.maximum(places[:, None, :2], boxes[None, :, :2])
    high = np.minimum(places[:, None, 2:], boxes[None, :, 2:])
    shared: Integers = (high - low).clip(min=0).prod(axis=2).sum(axis=1)
    return shared


def _draw_clutter(canvas: Floats, rng: np.random.Generator, columns: Floats, rows: Floats) -> None:
    """Draw thin lines and small blobs that belong to no class."""
    size = len(canvas)
    for _ in range(rng.integers(2, 5)):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.5, 0.5)
        line = np.abs(columns * np.cos(angle) + rows * np.sin(angle) - offset) * size < rng.uniform(0.5, 1)
        canvas[line] = rng.uniform(30, 225, 3)
    for _ in range(rng.integers(4, 9)):
        width, height = rng.integers(max(1, size // 32), max(3, size // 13), 2)
        left, top = rng.integers(0, size - width), rng.integers(0, size - height)
        canvas[top : top + height, left : left + width] = rng.uniform(30, 225, 3)
