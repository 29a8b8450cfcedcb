"""From a data set's own images to a batch of one size."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms

from guidance.data.batch import Batch
from guidance.data.boxes import dilate_boxes, rescale_boxes
from guidance.data.sample import ImageDataset


@dataclass
class PreparedSample:
    """One image, squashed to a square, with its annotations.

    Attributes:
        image: RGB, uint8 [3, S, S].
        labels: bool [K].
        boxes: int64 [M, 4], half-open xyxy, pixels of ``image``.
        box_classes: int64 [M].
        annotated: Whether the boxes may be used for guidance.
        index: The image's index in its data set.
    """

    image: Tensor
    labels: Tensor
    boxes: Tensor
    box_classes: Tensor
    annotated: bool
    index: int


class PreparedDataset(Dataset[PreparedSample]):
    """A split whose images are squashed to S x S (antialiased, bilinear) and whose boxes follow.

    Args:
        dataset: The split.
        image_size: S in pixels.
        annotated: Which images' boxes may be used for guidance, bool [len(dataset)]; all if None.
        box_dilation: Part of its width and height that every box gains on each side before it is rescaled.
            For training only: evaluation is to use the true boxes.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        image_size: int,
        annotated: Tensor | None = None,
        box_dilation: float = 0.0,
    ) -> None:
        if annotated is not None and annotated.shape != (len(dataset),):
            raise ValueError(f"annotated must be [{len(dataset)}]; got {list(annotated.shape)}")
        self.dataset = dataset
        self.annotated = torch.ones(len(dataset), dtype=torch.bool) if annotated is None else annotated
        self._size = (image_size, image_size)
        self._box_dilation = box_dilation

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> PreparedSample:
        """Return one image.

        Raises:
            InputError: Naming the file, if it cannot be read.
        """
        sample = self.dataset[index]
        height, width = sample.image.shape[-2:]
        image = sample.image
        if (height, width) != self._size:
            image = transforms.resize(image, list(self._size), antialias=True)
        boxes = dilate_boxes(sample.boxes, self._box_dilation, (height, width))
        return PreparedSample(
            image=image,
            labels=sample.labels,
            boxes=rescale_boxes(boxes, (height, width), self._size),
            box_classes=sample.box_classes,
            annotated=bool(self.annotated[index]),
            index=index,
        )


def collate(samples: Sequence[PreparedSample]) -> Batch:
    """Put N >= 1 samples of one size into a batch; their boxes become one flat list."""
    boxes_each = torch.tensor([len(sample.boxes) for sample in samples])
    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        labels=torch.stack([sample.labels for sample in samples]),
        boxes=torch.cat([sample.boxes for sample in samples]),
        box_images=torch.arange(len(samples)).repeat_interleave(boxes_each),
        box_classes=torch.cat([sample.box_classes for sample in samples]),
        annotated=torch.tensor([sample.annotated for sample in samples]),
        indices=torch.tensor([sample.index for sample in samples]),
    )
