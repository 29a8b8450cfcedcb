"""What is explained and scored in a training step: one class of every image a round."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from guidance.data import Batch
from guidance.losses import AbsentEvidenceLoss
from guidance.training.guided_class import draw_guided_class, nth_class
from guidance.training.teacher import Lesson

GuidedClasses = Literal["one", "all", "absent"]

# Sets the draw of absent classes apart from that of present ones.
_ABSENT = 0x5EED


@dataclass(frozen=True)
class GuidanceRound:
    """One class of every image of a batch that is explained and scored.

    Attributes:
        classes: The class explained, int64 [N].
        guided: Whether it counts, bool [N].
        loss: Maps the maps of the rows that are explained, [P, h, w], to their losses, [P].
        absent: Whether the classes are absent from their images.
    """

    classes: Tensor
    guided: Tensor
    loss: Callable[[Tensor], Tensor]
    absent: bool = False


def teacher_round(loss: nn.Module, lesson: Lesson) -> GuidanceRound:
    """Return the round in which all images are to repeat a teacher's maps.

    Args:
        loss: Compares maps with ``teacher_maps``.
        lesson: What the teacher says of the images.
    """
    guided = torch.ones_like(lesson.classes, dtype=torch.bool)
    return GuidanceRound(lesson.classes, guided, partial(loss, teacher_maps=lesson.maps))


def guidance_rounds(
    loss: nn.Module,
    batch: Batch,
    rows: Tensor | slice,
    guided_classes: GuidedClasses,
    most: int,
    seed: int,
    epoch: int,
) -> list[GuidanceRound]:
    """Return the rounds of a step that is guided by annotations.

    Args:
        loss: Compares maps with ``masks``.
        batch: N images.
        rows: Which of them are explained, int64 [P].
        guided_classes: See :class:`guidance.training.module.GuidedClassifier`.
        most: The most classes to guide in an image of the batch, at least 1.
        seed: Of the run.
        epoch: Counted from 0.
    """
    guidable = batch.guidable()
    if guided_classes == "all":
        chosen = [nth_class(guidable, number) for number in range(most)]
    else:
        chosen = [draw_guided_class(guidable, seed, epoch, batch.indices)]
    rounds = [
        GuidanceRound(k, guided, partial(loss, masks=batch.class_masks(k)[rows])) for k, guided in chosen
    ]
    if guided_classes == "absent":
        absent = ~batch.labels & batch.annotated[:, None]
        k, guided = draw_guided_class(absent, seed + _ABSENT, epoch, batch.indices)
        rounds.append(GuidanceRound(k, guided, AbsentEvidenceLoss(), absent=True))
    return rounds
