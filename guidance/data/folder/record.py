"""What the annotation files of any format say about one image."""

import math
from dataclasses import dataclass, replace

from guidance.data.annotation import Skipped
from guidance.data.labelled_object import LabelledObject

# Six decimals, as YOLO's tools write them, move an edge by up to this part of the image's side.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class ImageRecord:
    """What is said about one image, before the image itself was looked at.

    Attributes:
        objects: In the files' order.
        size: (height, width) that the annotation states; None if it states none.
        relative: Whether boxes are parts of the image's width and height instead of pixels.
        skipped: What is said but not used.
    """

    objects: list[LabelledObject]
    size: tuple[int, int] | None = None
    relative: bool = False
    skipped: tuple[Skipped, ...] = ()

    def in_pixels(self, size: tuple[int, int]) -> list[LabelledObject]:
        """Return the objects with their boxes in pixels.

        Args:
            size: (height, width) of the image.

        Returns:
            Edges of relative boxes that miss a whole pixel by no more than the rounding of six decimals lie
            on it.
        """
        if not self.relative:
            return self.objects
        height, width = size
        found = []
        for item in self.objects:
            if item.box is not None:
                x0, y0, x1, y1 = item.box
                box = (_edge(x0, width), _edge(y0, height), _edge(x1, width), _edge(y1, height))
                item = replace(item, box=box)
            found.append(item)
        return found


def _edge(part: float, side: int) -> float:
    pixels = part * side
    if not math.isfinite(pixels):
        return pixels
    whole = float(round(pixels))
    return whole if abs(pixels - whole) <= _ROUNDING * side else pixels
