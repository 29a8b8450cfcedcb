"""Many samples as a few tensors, with the masks of any (image, class) pairs drawn on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from guidance.data.boxes import union_masks
from guidance.data.runs import union_runs

Target = Literal["box", "mask"]
"""What guidance aims at: the boxes of a class, or its segmentation mask."""


@dataclass
class Batch:
    """N images of one size, their labels, and M boxes and R runs of masks in flat lists.

    Attributes:
        images: RGB, uint8 [N, 3, H, W].
        labels: The classes present, bool [N, K].
        boxes: int64 [M, 4], xyxy, half-open, pixels of ``images``.
        box_images: The image each box lies in, int64 [M].
        box_classes: The class of each box, int64 [M].
        runs: The segmentation masks, int64 [R, 2], see :func:`~guidance.data.runs.encode_runs`.
        run_images: The image each run lies in, int64 [R].
        run_classes: The class of each run, int64 [R].
        annotated: Whether an image's annotations may be used for guidance, bool [N].
        outside: Whether the evidence is to lie outside the boxes and masks, bool [N].
        groups: Each image's group, int64 [N]; -1 without groups.
        indices: Each image's index in its data set, int64 [N].
        target: What guidance aims at.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    box_images: Tensor
    box_classes: Tensor
    runs: Tensor
    run_images: Tensor
    run_classes: Tensor
    annotated: Tensor
    outside: Tensor
    groups: Tensor
    indices: Tensor
    target: Target = "box"

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on ``device``."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)

    def has_boxes(self) -> Tensor:
        """Return which present classes have a box, bool [N, K]."""
        boxed = torch.zeros_like(self.labels)
        boxed[self.box_images, self.box_classes] = True
        return boxed & self.labels

    def has_masks(self) -> Tensor:
        """Return which present classes have a segmentation mask, bool [N, K]."""
        masked = torch.zeros_like(self.labels)
        masked[self.run_images, self.run_classes] = True
        return masked & self.labels

    def guidable(self) -> Tensor:
        """Return which (image, class) pairs are present, have the target and are annotated, bool [N, K]."""
        has_target = self.has_boxes() if self.target == "box" else self.has_masks()
        return has_target & self.annotated[:, None]

    def masks(self, images: Tensor, classes: Tensor) -> Tensor:
        """Draw M_k, the union of all boxes of class k, for (image, class) pairs.

        Args:
            images: int64 [P], positions in this batch.
            classes: int64 [P].

        Returns:
            bool [P, H, W]; all False for a pair without a box. For images whose evidence is to lie outside,
            the pixels in no box.
        """
        box, pair = _matches(self.box_images, self.box_classes, images, classes)
        drawn = union_masks(self.boxes[box], pair, len(images), self._size())
        return _inverted(drawn, self.outside[images])

    def object_masks(self, images: Tensor, classes: Tensor) -> Tensor:
        """Draw the segmentation masks of (image, class) pairs.

        Args:
            images: int64 [P], positions in this batch.
            classes: int64 [P].

        Returns:
            bool [P, H, W]; all False for a pair without a mask. For images whose evidence is to lie outside,
            the pixels in no mask.
        """
        run, pair = _matches(self.run_images, self.run_classes, images, classes)
        drawn = union_runs(self.runs[run], pair, len(images), self._size())
        return _inverted(drawn, self.outside[images])

    def class_masks(self, classes: Tensor) -> Tensor:
        """Draw the target (boxes or segmentation mask) of one class per image.

        Does not wait for the device.

        Args:
            classes: int64 [N].

        Returns:
            What ``masks(torch.arange(N), classes)`` or ``object_masks`` returns, bool [N, H, W].
        """
        # What is of another class shrinks to nothing instead of being left out: no size depends on data.
        if self.target == "box":
            own = self.box_classes == classes[self.box_images]
            drawn = union_masks(self.boxes * own[:, None], self.box_images, len(self), self._size())
        else:
            own = self.run_classes == classes[self.run_images]
            drawn = union_runs(self.runs * own[:, None], self.run_images, len(self), self._size())
        return _inverted(drawn, self.outside)

    def _size(self) -> tuple[int, int]:
        return self.images.shape[-2], self.images.shape[-1]


def _matches(
    own_images: Tensor, own_classes: Tensor, images: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return which of the entries belongs to which of the pairs, as two int64 tensors of one length."""
    belongs = (images[:, None] == own_images) & (classes[:, None] == own_classes)
    pair, entry = belongs.nonzero(as_tuple=True)
    return entry, pair


def _inverted(masks: Tensor, outside: Tensor) -> Tensor:
    """Turn the masks that are not empty inside out where ``outside`` says so."""
    return masks ^ (outside & masks.flatten(1).any(dim=1))[:, None, None]
