"""From the objects that an annotation file lists to one image's annotation: the rules all formats share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from guidance.data.annotation import Annotation, Skipped
from guidance.data.boxes import Box, clip_box


@dataclass(frozen=True)
class LabelledObject:
    """One object as a file has it.

    Attributes:
        name: Its class.
        box: xyxy, half-open, pixels, unchecked; None for a label without a box.
        where: The file and the place in it, for messages.
    """

    name: str
    box: Box | None
    where: str


def annotate(
    objects: Iterable[LabelledObject], size: tuple[int, int], class_numbers: Mapping[str, int]
) -> tuple[Annotation, list[Skipped]]:
    """Make an image's annotation of its objects.

    A box is clipped to the image and dropped if nothing is left; the label stays.

    Args:
        objects: Of one image.
        size: (height, width) of the image.
        class_numbers: The label number of each class name; has all names that occur.

    Returns:
        The annotation, and what was clipped or dropped.
    """
    labels = torch.zeros(len(class_numbers), dtype=torch.bool)
    boxes: list[Box] = []
    box_classes: list[int] = []
    skipped: list[Skipped] = []
    for item in objects:
        number = class_numbers[item.name]
        labels[number] = True
        if item.box is None:
            continue
        inside, wrong = clip_box(item.box, size)
        if wrong:
            skipped.append(Skipped("box" if inside is None else "part of a box", wrong, item.where))
        if inside is not None:
            boxes.append(inside)
            box_classes.append(number)
    annotation = Annotation(
        size=size,
        labels=labels,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        box_classes=torch.tensor(box_classes, dtype=torch.int64),
    )
    return annotation, skipped
