"""Small, medium and large objects, as COCO tells them apart."""

import torch
from torch import Tensor

from guidance.data import Batch

SIZES = ("small", "medium", "large", "mixed")
"""The names of the numbers that :func:`pair_sizes` returns."""

SMALL, MEDIUM = 32**2 / (640 * 480), 96**2 / (640 * 480)
"""Upper bounds of a small and a medium object, as shares of the image: 0.33 % and 3 %.

COCO's bounds are 32 x 32 and 96 x 96 pixels of images that mostly have 640 x 480. In a squashed image of
224 x 224 pixels they are 167 and 1505 pixels, about 13 x 13 and 39 x 39.
"""


def pair_sizes(batch: Batch, images: Tensor, classes: Tensor) -> Tensor:
    """Return the size of the objects of (image, class) pairs, by the areas of their boxes.

    Args:
        batch: Its boxes are measured in the squashed image.
        images: Positions in the batch, int64 [P].
        classes: int64 [P].

    Returns:
        Positions in :data:`SIZES`, int64 [P]: ``mixed`` where a pair's boxes are not all of one size, -1
        where it has none.
    """
    area = batch.images.shape[-2] * batch.images.shape[-1]
    x0, y0, x1, y1 = batch.boxes.unbind(1)
    shares = ((x1 - x0) * (y1 - y0)).double() / area
    size = (shares >= SMALL).long() + (shares >= MEDIUM).long()
    belongs = (images[:, None] == batch.box_images) & (classes[:, None] == batch.box_classes)
    has = torch.stack([(belongs & (size == number)).any(dim=1) for number in range(3)], dim=1)  # [P, 3]
    kinds = has.sum(dim=1)
    single = has.int().argmax(dim=1)
    return torch.where(kinds > 1, 3, torch.where(kinds == 0, -1, single))
