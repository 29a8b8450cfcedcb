"""The losses of a training batch with guidance, for a trainer or without one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution import Attributor, CompiledExplanations, cannot_guide
from guidance.data import Batch
from guidance.errors import InputError, unknown_name
from guidance.losses import MapSimilarityLoss
from guidance.training.guidance_rounds import GuidanceRound, GuidedClasses, guidance_rounds, teacher_round
from guidance.training.guided_class import rows_to_explain
from guidance.training.step_record import StepRecord
from guidance.training.teacher import Lesson, Teacher

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Plan:
    """What there is to guide in a batch of N images.

    Attributes:
        rounds: The most classes to guide in one of them; 0 if there is nothing to guide.
        rows: Which images are to be explained, int64 [P], or the slice of all.
    """

    rounds: int
    rows: Tensor | slice


@dataclass(frozen=True)
class _Outputs:
    """Logits of all images of a batch, and for each round the maps of the images in ``rows``."""

    logits: Tensor
    rounds: Sequence[GuidanceRound] = ()
    maps: Sequence[Tensor] = ()
    rows: Tensor | slice = field(default_factory=lambda: slice(None))


class GuidedStep:
    """Computes ``L = L_class + weight * L_loc`` of training batches (Rao et al., ICCV 2023).

    L_class is binary cross-entropy, the mean over images and classes. L_loc scores the attribution map of
    one drawn class per annotated image, or of more.

    Args:
        attributor: Makes the maps.
        localization: Maps (attributions [N, h, w], masks [N, H, W]) to losses [N]; None for no guidance, and
            no maps.
        weight: The weight of L_loc (lambda); 0 is no guidance either.
        guided_classes: ``one``, ``all`` or ``absent``; see
            :class:`guidance.training.module.GuidedClassifier`.
        teacher: If given, the localization loss compares with its maps instead of with masks, on all images.
        reduction: ``mean`` over the guided images of the global batch, or ``sum`` over them.
        seed: Of the classes drawn.
        compiled: Explains the batches that it fits, or None.
        partly_annotated: Whether images without annotations are to be expected. Each of several processes
            then explains its guided images alone, at least one; otherwise all, which is faster if they are.

    Raises:
        InputError: If the attributor cannot guide, or an option is out of range.
    """

    def __init__(
        self,
        attributor: Attributor,
        localization: nn.Module | None = None,
        weight: float = 0.0,
        guided_classes: GuidedClasses = "one",
        teacher: Teacher | None = None,
        reduction: Reduction = "mean",
        seed: int = 0,
        compiled: CompiledExplanations | None = None,
        partly_annotated: bool = False,
    ) -> None:
        if localization is not None and weight > 0:
            if not attributor.guides:
                raise InputError(cannot_guide(attributor))
            if len(attributor.layers) > 1:
                raise InputError(
                    f"attributor.layer={list(attributor.layers)}: guidance trains on the maps of one layer; "
                    "name one here, and several in evaluate.py"
                )
        if reduction not in ("mean", "sum"):
            raise unknown_name("loss.reduction", reduction, ("mean", "sum"))
        if guided_classes not in get_args(GuidedClasses):
            raise unknown_name("loss.classes", guided_classes, get_args(GuidedClasses))
        if (teacher is not None) != isinstance(localization, MapSimilarityLoss):
            raise InputError("a teacher (loss.teacher) goes with a map-to-map loss, and only with one")
        if not weight >= 0:
            raise InputError(f"loss.weight must be at least 0; got {weight}")
        self.attributor = attributor
        self.localization = localization if weight > 0 else None
        self.weight = weight
        self.guided_classes = guided_classes
        self.teacher = teacher
        self.reduction = reduction
        self.seed = seed
        self.compiled = compiled
        self.partly_annotated = partly_annotated

    def plan(self, batch: Batch) -> Plan:
        """Return what there is to guide in a batch; in main memory, since a device would be waited for."""
        guidable = batch.guidable()
        rounds = int(guidable.sum(dim=1).max())
        guided = guidable.any(dim=1)
        if self.guided_classes == "absent":
            guided = guided | (batch.annotated & ~batch.labels.all(dim=1))
        if self.teacher is not None or (self.guided_classes == "absent" and bool(batch.annotated.any())):
            rounds = max(rounds, 1)
        return Plan(rounds, slice(None) if self.teacher is not None else rows_to_explain(guided))

    def losses(
        self,
        model: nn.Module,
        batch: Batch,
        plan: Plan,
        epoch: int,
        world: int = 1,
        global_images: int | None = None,
    ) -> tuple[dict[str, Tensor], StepRecord]:
        """Compute the loss of a batch.

        Args:
            model: The classifier.
            batch: On the model's device.
            plan: What :meth:`plan` returned for it.
            epoch: Decides which classes are drawn.
            world: The number of processes, which all call this.
            global_images: Images of the batches of all processes together. None: not known, and nothing is
                compiled if there are several.

        Returns:
            ``loss`` and its parts, ``classification_loss`` and, with guidance, ``localization_loss``: scalars
            whose means over processes are those of the global batch; and what they were computed from.
        """
        record = StepRecord(batch.indices)
        images = record.note("input", batch.images).to(next(model.parameters()).dtype) / 255
        lesson = self.teacher.teach(images) if self.teacher is not None else None
        if lesson is not None:
            record.note("teacher's map", lesson.maps)
        compiled = self._compiled(model, len(batch), world, len(batch) if world == 1 else global_images)
        outputs = self._run(model, images, batch, plan, lesson, epoch, world, compiled)
        record.note("logits", outputs.logits)
        if lesson is not None and self.teacher is not None and self.teacher.temperature is not None:
            classification = self.teacher.distillation_loss(outputs.logits, lesson)
        else:
            classification = cross_entropy(outputs.logits, batch.labels)
        record.note("classification loss", classification)
        counts = self._global_counts(batch, outputs.rounds, world)
        loss = classification = classification.sum() * world / counts[0]
        losses = {"classification_loss": classification}
        if outputs.rounds:
            localization = torch.zeros_like(classification)
            of_maps = outputs.rows if isinstance(outputs.rows, Tensor) else None
            for one, maps in zip(outputs.rounds, outputs.maps, strict=True):
                record.guided.append((one.classes, one.guided))
                each = one.loss(record.note("map", maps, of_maps))
                record.note("localization loss", each, of_maps)
                total = torch.where(one.guided[outputs.rows], each, 0.0).sum() * world
                if self.reduction == "mean":
                    total = total / counts[2 if one.absent else 1].clamp(min=1)
                localization = localization + total
            loss = loss + self.weight * localization
            losses = {"localization_loss": localization} | losses
        return losses | {"loss": record.note("loss", loss)}, record

    def _run(
        self,
        model: nn.Module,
        images: Tensor,
        batch: Batch,
        plan: Plan,
        lesson: Lesson | None,
        epoch: int,
        world: int,
        compiled: CompiledExplanations | None,
    ) -> _Outputs:
        """Classify the images of a batch and explain those that are guided."""
        # Processes run the same collectives only if they build the same graph, so with several of them a
        # batch without a guidable image goes the whole way, with a localization loss of 0.
        guides = self.localization is not None and (plan.rounds > 0 or world > 1)
        rows = self._rows(plan, len(batch), world)
        if isinstance(rows, Tensor):
            rows = rows.to(images.device, non_blocking=True)
        if compiled is not None:
            # Without an image to guide two are explained for nothing, by the program for some images.
            rounds = self._guidance_rounds(batch, plan, lesson, rows, epoch)
            some = rows if isinstance(rows, Tensor) else None
            classes = [one.classes for one in rounds]
            logits, maps = compiled.explain(model, images, classes, some, same_program=world > 1)
            return _Outputs(logits, rounds, maps, rows) if guides else _Outputs(logits)
        if not guides:
            return _Outputs(model(images))
        forward = self.attributor.forward(model, images)
        logits = forward.logits
        if isinstance(rows, Tensor):
            if forward.tape is None:
                rows = slice(None)
            else:
                forward = forward.restrict(rows)
        rounds = self._guidance_rounds(batch, plan, lesson, rows, epoch)
        maps = [self.attributor.attribute(forward, one.classes[rows], create_graph=True) for one in rounds]
        return _Outputs(logits, rounds, maps, rows)

    def _rows(self, plan: Plan, images: int, world: int) -> Tensor | slice:
        """Return which images to explain; in several processes all, or some, whatever the batches are."""
        if world == 1:
            return plan.rows
        if not self.partly_annotated or self.teacher is not None:
            return slice(None)
        return plan.rows if isinstance(plan.rows, Tensor) else torch.arange(images)

    def _compiled(
        self, model: nn.Module, images: int, world: int, global_images: int | None
    ) -> CompiledExplanations | None:
        """Return what trains on a batch of so many images by a program; None, told once, if nothing does."""
        compiled = self.compiled
        if compiled is None:
            return None
        if self.localization is not None and self.guided_classes == "all":
            compiled.warn("it is for loss.classes=one and absent, not for all")
        # The last batch of an epoch may be smaller, and is not worth a program; so it is in every process,
        # since their programs are to have the same collectives.
        elif compiled.fits(model) and images * world == compiled.batch_size * world == global_images:
            return compiled
        return None

    def _guidance_rounds(
        self, batch: Batch, plan: Plan, lesson: Lesson | None, rows: Tensor | slice, epoch: int
    ) -> list[GuidanceRound]:
        """Return what is explained in this step, nothing without guidance; losses are of rows."""
        if self.localization is None:
            return []
        if lesson is not None:
            return [teacher_round(self.localization, lesson)]
        most = max(plan.rounds, 1)
        return guidance_rounds(self.localization, batch, rows, self.guided_classes, most, self.seed, epoch)

    def _global_counts(self, batch: Batch, rounds: Sequence[GuidanceRound], world: int) -> Tensor:
        """Return how many images, guided and absent pairs the batches of all processes have, int64 [3]."""
        counts = torch.zeros(3, dtype=torch.int64, device=batch.images.device)
        counts[0] = len(batch)
        for one in rounds:
            counts[2 if one.absent else 1] += one.guided.sum()
        if world > 1:
            dist.all_reduce(counts)
        return counts


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return binary cross-entropy of logits and labels [N, K], at least float32: means over classes, [N]."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return losses.mean(dim=1)
