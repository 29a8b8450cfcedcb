"""Counting what a split holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from guidance.data.annotation import AnnotationTable, Skipped
from guidance.data.batch import Target
from guidance.data.image_dataset import ImageDataset

WHOLE_IMAGE = 0.99
"""A box with at least this part of its image's area counts as the whole image."""

_FIRST_PLACES = 3
_SLOW = 1000  # annotations of more images may take seconds to make


@dataclass(frozen=True)
class SkippedCount:
    """What was skipped for one reason.

    Attributes:
        what: As in :class:`~guidance.data.annotation.Skipped`.
        reason: As there.
        count: How often.
        places: The first three.
    """

    what: str
    reason: str
    count: int
    places: tuple[str, ...]


@dataclass(frozen=True)
class SplitSummary:
    """The numbers of one split, as ``check.json`` has them.

    Attributes:
        target: What guidance aims at.
        images: Number of images.
        images_without_object: Those without any label.
        images_with_box: Those with at least one box.
        images_with_mask: Those with a segmentation mask of a present class; None if the data set has no
            masks, or they were not read.
        images_to_look_outside: Those whose evidence is to lie outside the boxes.
        annotated_images: Those whose annotations may be used for guidance.
        guidable_images: Those among them of which a present class has what guidance aims at; None if those
            are masks that were not read.
        boxes: Number of boxes.
        whole_image_boxes: Those that cover :data:`WHOLE_IMAGE` of their image.
        boxes_per_image_mean: Over all images, those without a box among them.
        boxes_per_image_max: Of the image with the most boxes.
        median_height: In pixels; the lower one of the two middle values.
        median_width: Likewise.
        images_per_class: Images that show each class.
        boxes_per_class: Boxes of each class.
        images_per_group: Images of each group; empty without groups.
        skipped: What the files hold that is not used, the most frequent first.
    """

    target: Target
    images: int
    images_without_object: int
    images_with_box: int
    images_with_mask: int | None
    images_to_look_outside: int
    annotated_images: int
    guidable_images: int | None
    boxes: int
    whole_image_boxes: int
    boxes_per_image_mean: float
    boxes_per_image_max: int
    median_height: int
    median_width: int
    images_per_class: dict[str, int]
    boxes_per_class: dict[str, int]
    images_per_group: dict[str, int]
    skipped: tuple[SkippedCount, ...]

    @property
    def images_without_box(self) -> int:
        """Images that have no box, whether or not they have a label."""
        return self.images - self.images_with_box


def annotation_table(dataset: ImageDataset, description: str) -> AnnotationTable:
    """Collect the annotations of a split.

    Args:
        dataset: The split; its images are not read.
        description: Stands beside the progress bar.
    """
    console = Console(stderr=True)
    hidden = len(dataset) <= _SLOW or not console.is_terminal
    numbers = track(range(len(dataset)), description, transient=True, console=console, disable=hidden)
    return AnnotationTable((dataset.annotation(index) for index in numbers), len(dataset.classes))


def summarize(
    dataset: ImageDataset,
    table: AnnotationTable,
    annotated: Tensor,
    target: Target,
    masked: Tensor | None = None,
) -> SplitSummary:
    """Count what a split holds.

    Args:
        dataset: The split, N >= 1 images.
        table: Its annotations.
        annotated: Which annotations may be used for guidance, bool [N].
        target: What guidance aims at.
        masked: Which images have a segmentation mask of a present class, bool [N]; None if unknown.
    """
    images = len(table)
    owners = torch.arange(images).repeat_interleave(table.box_counts)
    boxed = torch.zeros(images, dtype=torch.bool)
    boxed[owners[table.labels[owners, table.box_classes]]] = True
    has_target = boxed if target == "box" else masked
    extent = (table.boxes[:, 2:] - table.boxes[:, :2]).double().prod(dim=1)
    whole = extent >= WHOLE_IMAGE * table.sizes[owners].double().prod(dim=1)
    height, width = table.sizes.median(dim=0).values.tolist()
    per_class = table.labels.sum(dim=0).tolist()
    boxes_per_class = table.box_classes.bincount(minlength=len(dataset.classes)).tolist()
    # Images without a group have the number -1.
    per_group = (table.groups + 1).bincount(minlength=len(dataset.groups) + 1).tolist()[1:]
    return SplitSummary(
        target=target,
        images=images,
        images_without_object=int((~table.labels.any(dim=1)).sum()),
        images_with_box=int((table.box_counts > 0).sum()),
        images_with_mask=None if masked is None else int(masked.sum()),
        images_to_look_outside=int(table.outside.sum()),
        annotated_images=int(annotated.sum()),
        guidable_images=None if has_target is None else int((annotated & has_target).sum()),
        boxes=len(table.boxes),
        whole_image_boxes=int(whole.sum()),
        boxes_per_image_mean=len(table.boxes) / images,
        boxes_per_image_max=int(table.box_counts.max()),
        median_height=height,
        median_width=width,
        images_per_class=dict(zip(dataset.classes, per_class, strict=True)),
        boxes_per_class=dict(zip(dataset.classes, boxes_per_class, strict=True)),
        images_per_group=dict(zip(dataset.groups, per_group, strict=True)),
        skipped=count_skipped(dataset.skipped),
    )


def count_skipped(skipped: Sequence[Skipped]) -> tuple[SkippedCount, ...]:
    """Count what was skipped by kind and reason, the most frequent first."""
    places: dict[tuple[str, str], list[str]] = {}
    for item in skipped:
        places.setdefault((item.what, item.reason), []).append(item.where)
    counts = [
        SkippedCount(what, reason, len(found), tuple(found[:_FIRST_PLACES]))
        for (what, reason), found in places.items()
    ]
    return tuple(sorted(counts, key=lambda count: -count.count))


def counted(count: int, what: str) -> str:
    """Return e.g. ``1,543 objects``."""
    plural = {"box": "boxes", "class": "classes", "part of a box": "parts of boxes"}.get(what, f"{what}s")
    return f"{count:,} {what if count == 1 else plural}"
