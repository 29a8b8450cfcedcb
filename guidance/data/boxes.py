"""Geometry of boxes: always xyxy, half-open, in pixels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


def clip_box(box: Sequence[float], size: tuple[int, int]) -> tuple[Box | None, str]:
    """Clip one box from a file to its image.

    Args:
        box: xyxy, half-open, pixels; whatever the file says.
        size: (height, width) of the image.

    Returns:
        The part within the image, or None if there is none; and what was wrong, "" for a box as it should be.
    """
    x0, y0, x1, y1 = box
    height, width = size
    if not all(math.isfinite(value) for value in box):
        return None, "a coordinate is not a finite number"
    if x0 > x1 or y0 > y1:
        return None, "its corners are swapped"
    if x0 == x1 or y0 == y1:
        return None, "it has no area"
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None, "it lies outside the image"
    return inside, "" if inside == (x0, y0, x1, y1) else "it reaches outside the image and was clipped"


def rescale_boxes(boxes: Tensor, old_size: tuple[int, int] | Tensor, new_size: tuple[int, int]) -> Tensor:
    """Rescale boxes with their image and round outwards, so that every pixel they touch is covered.

    Args:
        boxes: [M, 4] in pixels of the old image.
        old_size: (height, width) of the old image, or of each box's own one, integers [M, 2].
        new_size: (height, width) of the new one.

    Returns:
        int64 [M, 4], clipped to the new image, each at least one pixel wide and high.
    """
    height, width = new_size
    old = torch.as_tensor(old_size, dtype=torch.float64, device=boxes.device)
    new = torch.tensor([width, height], dtype=torch.float64, device=boxes.device)
    scaled = boxes.double() * (new / old.flip(-1)).tile(2)
    # 1e-6 of a pixel forgives the rounding of the scale itself: 499 * (224 / 499) is 224, not a bit more.
    low = (scaled[:, :2] + 1e-6).floor().long()
    high = (scaled[:, 2:] - 1e-6).ceil().long()
    limit = torch.tensor([width, height], device=boxes.device)
    low = torch.minimum(low.clamp(min=0), limit - 1)
    high = torch.maximum(torch.minimum(high, limit), low + 1)
    return torch.cat([low, high], dim=1)


def dilate_boxes(boxes: Tensor, fraction: float, size: tuple[int, int] | Tensor) -> Tensor:
    """Grow every box by a fraction of its width (height) on EACH side, as coarse annotations would be.

    Rao et al. 2023, section 5.3.

    Args:
        boxes: [M, 4].
        fraction: 0.25 makes a box 1.5 times as wide and as high.
        size: (height, width) of the image that the result is clipped to, or of each box's own, [M, 2].

    Returns:
        float64 [M, 4].
    """
    boxes = boxes.double()
    margin = (boxes[:, 2:] - boxes[:, :2]) * fraction
    limit = torch.as_tensor(size, dtype=torch.float64, device=boxes.device).flip(-1)
    low = (boxes[:, :2] - margin).clamp(min=0)
    high = torch.minimum(boxes[:, 2:] + margin, limit)
    return torch.cat([low, high], dim=1)


def union_masks(boxes: Tensor, owners: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """Draw the union of each owner's boxes, all owners at once.

    The corners of the boxes go into a difference image whose double cumulative sum counts, per pixel, the
    boxes that cover it.

    Args:
        boxes: int64 [M, 4] within the image.
        owners: The mask each box belongs to, int64 [M] in [0, count).
        count: Number of masks P.
        size: (H, W).

    Returns:
        bool [P, H, W]; all False for an owner without boxes.
    """
    height, width = size
    difference = torch.zeros(count, height + 1, width + 1, dtype=torch.int32, device=boxes.device)
    x0, y0, x1, y1 = boxes.unbind(1)
    one = torch.ones((), dtype=torch.int32, device=boxes.device)
    for rows, columns, sign in ((y0, x0, one), (y0, x1, -one), (y1, x0, -one), (y1, x1, one)):
        difference.index_put_((owners, rows, columns), sign, accumulate=True)
    covered = difference.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
    return covered[:, :height, :width] > 0
