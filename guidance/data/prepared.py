"""From a data set's own images to a batch of one size."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from guidance.data.augmentation import Augmentation
from guidance.data.batch import Batch, Target
from guidance.data.boxes import dilate_boxes, rescale_boxes
from guidance.data.image_cache import ImageCache
from guidance.data.image_dataset import ImageDataset
from guidance.data.runs import encode_runs, resize_masks
from guidance.data.squashed import read_image, squash


@dataclass
class PreparedSample:
    """One image, squashed to a square, with its annotations.

    Attributes:
        image: RGB, uint8 [3, S, S].
        labels: bool [K].
        boxes: int64 [M, 4], half-open xyxy, pixels of ``image``.
        box_classes: int64 [M].
        runs: The segmentation masks as runs of pixels, int64 [R, 2].
        run_classes: int64 [R].
        annotated: Whether the annotations may be used for guidance.
        outside: Whether the evidence is to lie outside the boxes and masks.
        group: The image's group; -1 without groups.
        index: The image's index in its data set.
    """

    image: Tensor
    labels: Tensor
    boxes: Tensor
    box_classes: Tensor
    runs: Tensor
    run_classes: Tensor
    annotated: bool
    outside: bool
    group: int
    index: int


class PreparedDataset(Dataset[PreparedSample]):
    """A split whose images are squashed to S x S (antialiased, bilinear) and whose boxes and masks follow.

    Args:
        dataset: The split.
        image_size: S in pixels.
        annotated: Which images' annotations may be used for guidance, bool [len(dataset)]; all if None.
        box_dilation: Part of its width and height that every box gains on each side before it is rescaled.
            For training only: evaluation is to use the true boxes.
        target: What guidance aims at.
        with_masks: Whether to read the segmentation masks.
        augmentation: Random changes of image, boxes and masks together; None for none.
        cache: The images, already squashed; None reads and squashes them at use.

    Raises:
        ValueError: If ``annotated`` has another length, or the augmentation needs what a cache has not.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        image_size: int,
        annotated: Tensor | None = None,
        box_dilation: float = 0.0,
        target: Target = "box",
        with_masks: bool = False,
        augmentation: Augmentation | None = None,
        cache: ImageCache | None = None,
    ) -> None:
        if annotated is not None and annotated.shape != (len(dataset),):
            raise ValueError(f"annotated must be [{len(dataset)}]; got {list(annotated.shape)}")
        if cache is not None and augmentation is not None and augmentation.crops:
            raise ValueError("random crops are cut from whole images, of which a cache has none")
        self.dataset = dataset
        self.annotated = torch.ones(len(dataset), dtype=torch.bool) if annotated is None else annotated
        self.target = target
        self._size = (image_size, image_size)
        self._box_dilation = box_dilation
        self._with_masks = with_masks
        self._augmentation = augmentation
        self._cache = cache

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int | tuple[int, int]) -> PreparedSample:
        """Return one image.

        Args:
            item: An index, which is not augmented, or (epoch, index), which is.

        Raises:
            InputError: Naming the file, if it cannot be read or is not uint8.
        """
        return self._prepare(item, None if self._cache is None else self._cache[[_index(item)]][0])

    def __getitems__(self, items: Sequence[int | tuple[int, int]]) -> Batch:
        """Return N >= 1 images as a batch; data loaders ask for it.

        With a cache the batch is read in one go, and without augmentation and masks it is all that is done.

        Args:
            items: As in :meth:`__getitem__`.
        """
        if self._cache is None:
            return collate([self[item] for item in items], self.target)
        indices = [_index(item) for item in items]
        images = self._cache[indices]
        if self._augmentation is None and not self._with_masks:
            return self._batch(indices, images)
        samples = [self._prepare(item, image) for item, image in zip(items, images, strict=True)]
        return collate(samples, self.target)

    def _batch(self, indices: list[int], images: Tensor) -> Batch:
        annotations = [self.dataset.annotation(index) for index in indices]
        owners = torch.arange(len(indices)).repeat_interleave(
            torch.tensor([len(annotation.boxes) for annotation in annotations])
        )
        sizes = torch.tensor([annotation.size for annotation in annotations])[owners]
        boxes = dilate_boxes(torch.cat([a.boxes for a in annotations]), self._box_dilation, sizes)
        none = torch.zeros(0, dtype=torch.int64)
        return Batch(
            images=images,
            labels=torch.stack([annotation.labels for annotation in annotations]),
            boxes=rescale_boxes(boxes, sizes, self._size),
            box_images=owners,
            box_classes=torch.cat([annotation.box_classes for annotation in annotations]),
            runs=none.new_zeros(0, 2),
            run_images=none,
            run_classes=none,
            annotated=self.annotated[indices],
            outside=torch.tensor([annotation.outside for annotation in annotations]),
            groups=torch.tensor([annotation.group for annotation in annotations]),
            indices=torch.tensor(indices),
            target=self.target,
        )

    def _prepare(self, item: int | tuple[int, int], image: Tensor | None) -> PreparedSample:
        epoch, index = item if isinstance(item, tuple) else (0, item)
        augmentation = self._augmentation if isinstance(item, tuple) else None
        annotation = self.dataset.annotation(index)
        boxes = dilate_boxes(annotation.boxes, self._box_dilation, annotation.size)
        box_classes = annotation.box_classes
        size = annotation.size
        mask_classes, masks = self._masks(index)
        if image is None:
            crops = augmentation is not None and augmentation.crops
            image = read_image(self.dataset, index, least=None if crops else self._size[0])
        if augmentation is not None:
            draw = augmentation.generator(epoch, index)
            image, boxes, box_classes, masks = augmentation.crop(image, boxes, box_classes, masks, draw)
            if augmentation.crops:
                size = (image.shape[-2], image.shape[-1])
        image = squash(image, self._size[0])
        boxes = rescale_boxes(boxes, size, self._size)
        masks = resize_masks(masks, self._size)
        if augmentation is not None:
            image, boxes, masks = augmentation.flip_and_jitter(image, boxes, masks, draw)
        runs, owners = encode_runs(masks)
        return PreparedSample(
            image=image,
            labels=annotation.labels,
            boxes=boxes,
            box_classes=box_classes,
            runs=runs,
            run_classes=mask_classes[owners],
            annotated=bool(self.annotated[index]),
            outside=annotation.outside,
            group=annotation.group,
            index=index,
        )

    def _masks(self, index: int) -> tuple[Tensor, Tensor]:
        """Return classes [C] and masks [C, H, W]; none if they are not wanted."""
        if self._with_masks:
            return self.dataset.masks(index)
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, *self._size, dtype=torch.bool)


def _index(item: int | tuple[int, int]) -> int:
    return item[1] if isinstance(item, tuple) else item


def collate(samples: Sequence[PreparedSample], target: Target = "box") -> Batch:
    """Put N >= 1 samples of one size into a batch; their boxes and runs become flat lists."""
    positions = torch.arange(len(samples))

    def owners(lengths: list[int]) -> Tensor:
        return positions.repeat_interleave(torch.tensor(lengths))

    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        labels=torch.stack([sample.labels for sample in samples]),
        boxes=torch.cat([sample.boxes for sample in samples]),
        box_images=owners([len(sample.boxes) for sample in samples]),
        box_classes=torch.cat([sample.box_classes for sample in samples]),
        runs=torch.cat([sample.runs for sample in samples]),
        run_images=owners([len(sample.runs) for sample in samples]),
        run_classes=torch.cat([sample.run_classes for sample in samples]),
        annotated=torch.tensor([sample.annotated for sample in samples]),
        outside=torch.tensor([sample.outside for sample in samples]),
        groups=torch.tensor([sample.group for sample in samples]),
        indices=torch.tensor([sample.index for sample in samples]),
        target=target,
    )
