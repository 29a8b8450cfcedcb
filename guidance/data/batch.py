"""Many samples as a few tensors, with the masks of any (image, class) pairs drawn on the device."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from guidance.data.boxes import union_masks


@dataclass
class Batch:
    """N images of one size, their labels, and M boxes in one flat list.

    Attributes:
        images: RGB, uint8 [N, 3, H, W].
        labels: The classes present, bool [N, K].
        boxes: int64 [M, 4], xyxy, half-open, pixels of ``images``.
        box_images: The image each box lies in, int64 [M].
        box_classes: The class of each box, int64 [M].
        annotated: Whether an image's boxes may be used for guidance, bool [N].
        indices: Each image's index in its data set, int64 [N].
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    box_images: Tensor
    box_classes: Tensor
    annotated: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on ``device``."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory."""
        return Batch(*(getattr(self, f.name).pin_memory() for f in fields(self)))

    def has_boxes(self) -> Tensor:
        """Return which present classes have a box, bool [N, K]."""
        boxed = torch.zeros_like(self.labels)
        boxed[self.box_images, self.box_classes] = True
        return boxed & self.labels

    def guidable(self) -> Tensor:
        """Return which (image, class) pairs are present, boxed and in an annotated image, bool [N, K]."""
        return self.has_boxes() & self.annotated[:, None]

    def masks(self, images: Tensor, classes: Tensor) -> Tensor:
        """Draw M_k, the union of all boxes of class k, for (image, class) pairs.

        Args:
            images: int64 [P], positions in this batch.
            classes: int64 [P].

        Returns:
            bool [P, H, W]; all False for a pair without a box.
        """
        height, width = self.images.shape[-2:]
        belongs = (images[:, None] == self.box_images) & (classes[:, None] == self.box_classes)
        pair, box = belongs.nonzero(as_tuple=True)
        return union_masks(self.boxes[box], pair, len(images), (height, width))

    def class_masks(self, classes: Tensor) -> Tensor:
        """Draw the mask of one class per image, without waiting for the device.

        Args:
            classes: int64 [N].

        Returns:
            What ``masks(torch.arange(N), classes)`` returns, bool [N, H, W].
        """
        own = self.box_classes == classes[self.box_images]
        # The other boxes shrink to nothing instead of being left out, so that no size depends on data.
        height, width = self.images.shape[-2:]
        return union_masks(self.boxes * own[:, None], self.box_images, len(self), (height, width))
