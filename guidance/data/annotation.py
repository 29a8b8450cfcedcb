"""What is known of an image without decoding it, and the compact table of a whole split."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor


@dataclass(frozen=True)
class Skipped:
    """Something in a data set's files that training does not use as it stands there.

    Attributes:
        what: ``image``, ``object``, ``box``, ``part of a box`` or ``mask``.
        reason: Why, in words that are the same for all that share the reason, so that they can be counted.
        where: The file, with the line or the entry in it: ``a.csv:17``, ``instances.json: annotation 5``.
    """

    what: str
    reason: str
    where: str


@dataclass(frozen=True)
class Annotation:
    """One image's labels and boxes, in the image's own pixels.

    Attributes:
        size: (height, width) of the image in its file, as a person sees it.
        labels: The classes present, bool [K].
        boxes: float32 [M, 4], xyxy, half-open, pixels, within ``size``; possibly none for a present class.
        box_classes: int64 [M].
        outside: Whether the evidence is to lie OUTSIDE the boxes, as where the label is the background.
        group: The image's number among the data set's groups; -1 without groups.
    """

    size: tuple[int, int]
    labels: Tensor
    boxes: Tensor
    box_classes: Tensor
    outside: bool = False
    group: int = -1


class AnnotationTable(Sequence[Annotation]):
    """All annotations of a split in a few flat tensors, which worker processes share instead of copying.

    COCO's 82,783 images with 600,000 boxes take 22 MB.

    Attributes:
        sizes: (height, width) of each image, int32 [N, 2].
        labels: bool [N, K].
        boxes: The boxes of all images, one after the other, float32 [M, 4].
        box_classes: int64 [M].
        box_counts: Boxes of each image, int64 [N].
        outside: bool [N].
        groups: int64 [N].

    Args:
        annotations: Of N images.
        num_classes: K, which the annotations do not tell if there are none.
    """

    def __init__(self, annotations: Iterable[Annotation], num_classes: int) -> None:
        rows = list(annotations)
        none = torch.zeros(0, num_classes, dtype=torch.bool)
        self.sizes = torch.tensor([row.size for row in rows], dtype=torch.int32).reshape(-1, 2)
        self.labels = torch.stack([row.labels for row in rows]) if rows else none
        self.boxes = torch.cat([torch.zeros(0, 4), *(row.boxes for row in rows)])
        self.box_classes = torch.cat([torch.zeros(0, dtype=torch.int64), *(row.box_classes for row in rows)])
        self.box_counts = torch.tensor([len(row.boxes) for row in rows], dtype=torch.int64)
        self.outside = torch.tensor([row.outside for row in rows], dtype=torch.bool)
        self.groups = torch.tensor([row.group for row in rows], dtype=torch.int64)
        self._ends = self.box_counts.cumsum(0)

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Annotation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Annotation]: ...

    def __getitem__(self, index: int | slice) -> Annotation | list[Annotation]:
        """Return one image's annotation; its tensors are views that must not be changed."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside the {len(self)} annotations")
        end = int(self._ends[index])
        start = end - int(self.box_counts[index])
        height, width = self.sizes[index].tolist()
        return Annotation(
            size=(height, width),
            labels=self.labels[index],
            boxes=self.boxes[start:end],
            box_classes=self.box_classes[start:end],
            outside=bool(self.outside[index]),
            group=int(self.groups[index]),
        )
