"""A data set that holds what it is given."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.data import Annotation, ImageDataset, Skipped
from guidance.errors import InputError

SIZE = (10, 20)
Box = tuple[float, float, float, float]


def annotation(
    labels: Sequence[int],
    boxes: Sequence[tuple[int, Box]] = (),
    outside: bool = False,
    group: int = -1,
    size: tuple[int, int] = SIZE,
    num_classes: int = 3,
) -> Annotation:
    """Build one of 20 x 10 pixels: the classes present, and the boxes with their classes."""
    present = torch.zeros(num_classes, dtype=torch.bool)
    present[list(labels)] = True
    return Annotation(
        size=size,
        labels=present,
        boxes=torch.tensor([box for _, box in boxes], dtype=torch.float32).reshape(-1, 4),
        box_classes=torch.tensor([k for k, _ in boxes], dtype=torch.int64),
        outside=outside,
        group=group,
    )


class Listed(ImageDataset):
    """Images of one colour each, told apart by ``tone``, with the given annotations.

    Args:
        annotations: One for each image.
        names: By default a, b, c, ...
        broken: Numbers of the images that cannot be read.
        masked: Numbers of the images of which the left half is the mask of class 0.
        groups: Names of groups.
        skipped: What the files hold besides.
        tone: Of the first image, in [0, 255]; each next one is one step brighter.
    """

    classes = ("cat", "dog", "bird")

    def __init__(
        self,
        annotations: Sequence[Annotation],
        names: Sequence[str] = "abcdefgh",
        broken: Sequence[int] = (),
        masked: Sequence[int] | None = None,
        groups: tuple[str, ...] = (),
        skipped: tuple[Skipped, ...] = (),
        tone: int = 0,
    ) -> None:
        self._annotations = annotations
        self._names = names
        self._broken = broken
        self._masked = masked or ()
        self.has_masks = masked is not None
        self.groups = groups
        self.skipped = skipped
        self._tone = tone

    def __len__(self) -> int:
        return len(self._annotations)

    def annotation(self, index: int) -> Annotation:
        return self._annotations[index]

    def image(self, index: int, least: int | None = None) -> Tensor:
        if index in self._broken:
            raise InputError(f"cannot read the image {self._names[index]}")
        return torch.full((3, *self._annotations[index].size), self._tone + index, dtype=torch.uint8)

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        if index not in self._masked:
            return super().masks(index)
        mask = torch.zeros(1, *self._annotations[index].size, dtype=torch.bool)
        mask[:, :, : mask.shape[2] // 2] = True
        return torch.tensor([0]), mask

    def name(self, index: int) -> str:
        return self._names[index]
