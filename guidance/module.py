"""The training module: classification loss + weight * localization loss, and the metrics of both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from guidance.attribution import Attributor, CompiledExplanations, attribute_pairs, cannot_guide
from guidance.data import Batch, TrainingBatchSampler
from guidance.errors import InputError, unknown_name
from guidance.guidance_rounds import GuidanceRound, GuidedClasses, guidance_rounds, teacher_round
from guidance.guided_class import rows_to_explain
from guidance.losses import MapSimilarityLoss
from guidance.metrics import SplitMetrics
from guidance.migration import FORMAT_VERSION
from guidance.models import Classifier
from guidance.randomness import hash_integers
from guidance.step_record import StepRecord
from guidance.teacher import Lesson, Teacher

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class _Outputs:
    """Logits of all images of a batch, and for each round the maps of the images in ``rows``."""

    logits: Tensor
    rounds: Sequence[GuidanceRound] = ()
    maps: Sequence[Tensor] = ()
    rows: Tensor | slice = field(default_factory=lambda: slice(None))


class GuidedClassifier(pl.LightningModule):
    """A classifier trained with ``L = L_class + weight * L_loc`` (Rao et al., ICCV 2023).

    L_class is binary cross-entropy, the mean over images and classes. L_loc scores the attribution map of
    one drawn class per annotated image (or of more, see ``guided_classes``). In several processes both are
    those of the global batch.

    Where several batches make one step (``Trainer(accumulate_grad_batches=k)``) a batch counts by its number
    of images: the step's L_class is the mean over all images of the step, and its L_loc the mean of the
    batches' L_loc, weighted by their numbers of images. The latter is the mean over all guided images of
    the step if each batch has the same share of guided images; if not, a guided image counts more in a
    batch that has few. With ``reduction="sum"`` it is the sum over all guided images of the step, always.

    Evaluation maps do not depend on the training loss: every present class that has a box is explained, in
    every image, and the metrics see the signed map.

    Args:
        model: The classifier.
        attributor: Makes the maps, in training and in evaluation.
        classes: The K class names.
        localization: Maps (attributions [N, h, w], masks [N, H, W]) to losses [N]; None trains without
            guidance and makes no maps in training.
        weight: The weight of L_loc (lambda).
        guided_classes: ``one`` guides one drawn class per image and step (the paper), ``all`` every class
            that can be, ``absent`` one drawn class and, by
            :class:`~guidance.losses.AbsentEvidenceLoss`, one that is not in the image.
        teacher: If given, the localization loss compares with its maps instead of with masks, on all images.
        reduction: ``mean`` over the guided images of the global batch, or ``sum`` over them, as in the
            published code, which ties the weight to the batch size.
        optimizer: Makes an optimizer of parameters.
        multi_label: Whether an image may show several classes, or none.
        groups: The names of the groups that accuracy is reported for.
        has_masks: Whether images may have segmentation masks, on which on-object EPG is reported.
        seed: All randomness of training derives from it.
        compiled_batch_size: If given, batches of so many images are trained on, and smaller ones evaluated,
            by :class:`~guidance.attribution.CompiledExplanations`, where it fits.
        config: The run's configuration, plain; kept in every checkpoint.

    Raises:
        InputError: If the attributor does not fit the model, or an option is out of range.
    """

    def __init__(
        self,
        model: Classifier,
        attributor: Attributor,
        classes: Iterable[str],
        localization: nn.Module | None = None,
        weight: float = 0.0,
        guided_classes: GuidedClasses = "one",
        teacher: Teacher | None = None,
        reduction: Reduction = "mean",
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam,
        multi_label: bool = True,
        groups: Sequence[str] = (),
        has_masks: bool = False,
        seed: int = 0,
        compiled_batch_size: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        attributor.check(model)
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
        self.model = model
        self.attributor = attributor
        self.classes = tuple(classes)
        self.localization = localization if weight > 0 else None
        self.weight = weight
        self.guided_classes = guided_classes
        self.reduction = reduction
        self.teacher = teacher
        self.make_optimizer = optimizer
        self.seed = seed
        self.compiled = CompiledExplanations(attributor, compiled_batch_size) if compiled_batch_size else None
        self.config = dict(config or {})
        self.iou_threshold = 0.5
        self.keep_threshold = False
        self.results: dict[str, float] = {}
        self.val_metrics = SplitMetrics(self.classes, attributor.layers, multi_label, groups, has_masks)
        self.test_metrics = SplitMetrics(self.classes, attributor.layers, multi_label, groups, has_masks)
        self._rounds = 1
        self._rows: Tensor | slice = slice(None)
        self.record: StepRecord | None = None

    def configure_optimizers(self) -> Optimizer:
        """Make the optimizer of all trainable parameters."""
        return self.make_optimizer([p for p in self.parameters() if p.requires_grad])

    # Training -------------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note, while the batch is still in main memory, which images and how many classes each to guide."""
        guidable = batch.guidable()
        self._rounds = int(guidable.sum(dim=1).max())
        guided = guidable.any(dim=1)
        if self.guided_classes == "absent":
            guided = guided | (batch.annotated & ~batch.labels.all(dim=1))
        self._rows = slice(None) if self.teacher is not None else rows_to_explain(guided)
        if self.teacher is not None or (self.guided_classes == "absent" and bool(batch.annotated.any())):
            self._rounds = max(self._rounds, 1)
        return batch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Derive the batch's randomness (dropout) from its number, so that a resumed run repeats it."""
        together = self.trainer.accumulate_grad_batches
        self.seed_batch(self.global_step * together + batch_idx % together, self.global_rank)

    def seed_batch(self, number: int, rank: int = 0) -> None:
        """Seed what is random within a training batch.

        Args:
            number: Batches trained on before it.
            rank: Of the process.
        """
        torch.manual_seed(int(hash_integers(self.seed, number, rank)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return a loss whose mean over processes, and over the batches of a step, is that of the step.

        What it was made of is noted in ``record``.
        """
        losses, record = self.compute_losses(batch, self.current_epoch, self.trainer.world_size)
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), batch_size=len(batch), prog_bar=name == "loss")
        self.record = record.detached()
        together = self.trainer.accumulate_grad_batches
        if together == 1:
            return losses["loss"]
        # Lightning divides by ``together``, also where an epoch ends with fewer batches.
        share = self._share_of_step(batch_idx)
        if "localization_loss" in losses and self.reduction == "sum":
            localization = self.weight * losses["localization_loss"]
            return together * (share * losses["classification_loss"] + localization)
        return together * share * losses["loss"]

    def _share_of_step(self, batch_idx: int) -> float:
        """Return which part of the images of an optimizer step, of all processes, a batch has.

        With batches that no :class:`~guidance.data.TrainingBatchSampler` makes, they count as equally large.
        """
        first = batch_idx - batch_idx % self.trainer.accumulate_grad_batches
        stop = min(first + self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches))
        sampler = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        if not isinstance(sampler, TrainingBatchSampler):
            return 1 / (stop - first)
        return sampler.images(batch_idx, batch_idx + 1) / sampler.images(first, stop)

    def compute_losses(
        self, batch: Batch, epoch: int, world: int = 1
    ) -> tuple[dict[str, Tensor], StepRecord]:
        """Compute the loss of a training batch, for a trainer or without one.

        Args:
            batch: After :meth:`on_before_batch_transfer`.
            epoch: Decides which classes are drawn.
            world: The number of processes, which all call this.

        Returns:
            ``loss`` and its parts, ``classification_loss`` and, with guidance, ``localization_loss``: scalars
            whose means over processes are those of the global batch; and what they were computed from.
        """
        record = StepRecord(batch.indices)
        images = record.note("input", batch.images).to(self.dtype) / 255
        lesson = self.teacher.teach(images) if self.teacher is not None else None
        if lesson is not None:
            record.note("teacher's map", lesson.maps)
        outputs = self._run(images, batch, lesson, epoch, world)
        record.note("logits", outputs.logits)
        if lesson is not None and self.teacher is not None and self.teacher.temperature is not None:
            classification = self.teacher.distillation_loss(outputs.logits, lesson)
        else:
            classification = _cross_entropy(outputs.logits, batch.labels)
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

    def _run(self, images: Tensor, batch: Batch, lesson: Lesson | None, epoch: int, world: int) -> _Outputs:
        """Classify the images of a batch and explain those that are guided."""
        # Processes run the same collectives only if they build the same graph, so with several of them a
        # batch without a guidable image goes the whole way, with a localization loss of 0.
        guides = self.localization is not None and (self._rounds > 0 or world > 1)
        rows: Tensor | slice = slice(None)
        # For the same reason several processes explain all images.
        if world == 1 and isinstance(self._rows, Tensor):
            rows = self._rows.to(images.device, non_blocking=True)
        compiled = self._compiled(len(batch), world)
        if compiled is not None:
            # Without an image to guide one is explained for nothing, by the program of a few.
            rounds = (
                self._guidance_rounds(batch, lesson, rows, epoch) if self.localization is not None else []
            )
            few = rows if isinstance(rows, Tensor) else None
            logits, maps = compiled.explain(self.model, images, [one.classes for one in rounds], few)
            return _Outputs(logits, rounds, maps, rows) if guides else _Outputs(logits)
        if not guides:
            return _Outputs(self.model(images))
        forward = self.attributor.forward(self.model, images)
        logits = forward.logits
        if isinstance(rows, Tensor):
            if forward.tape is None:
                rows = slice(None)
            else:
                forward = forward.restrict(rows)
        rounds = self._guidance_rounds(batch, lesson, rows, epoch)
        maps = [self.attributor.attribute(forward, one.classes[rows], create_graph=True) for one in rounds]
        return _Outputs(logits, rounds, maps, rows)

    def _compiled(self, images: int, world: int) -> CompiledExplanations | None:
        """Return what trains on a batch of so many images by a program; None, told once, if nothing does."""
        compiled = self.compiled
        if compiled is None:
            return None
        if world > 1:
            compiled.warn("it is for one process, not for several that train together")
        elif self.localization is not None and self.guided_classes == "all":
            compiled.warn("it is for loss.classes=one and absent, not for all")
        # The last batch of an epoch may be smaller, and is no worth a program.
        elif compiled.fits(self.model) and images == compiled.batch_size:
            return compiled
        return None

    def _guidance_rounds(
        self, batch: Batch, lesson: Lesson | None, rows: Tensor | slice, epoch: int
    ) -> list[GuidanceRound]:
        """Return what is explained in this step; losses are of rows."""
        loss = cast(nn.Module, self.localization)
        if lesson is not None:
            return [teacher_round(loss, lesson)]
        most = max(self._rounds, 1)
        return guidance_rounds(loss, batch, rows, self.guided_classes, most, self.seed, epoch)

    def _global_counts(self, batch: Batch, rounds: Sequence[GuidanceRound], world: int) -> Tensor:
        """Return how many images, guided and absent pairs the batches of all processes have, int64 [3]."""
        counts = torch.zeros(3, dtype=torch.int64, device=batch.images.device)
        counts[0] = len(batch)
        for one in rounds:
            counts[2 if one.absent else 1] += one.guided.sum()
        if world > 1:
            dist.all_reduce(counts)
        return counts

    # Evaluation -----------------------------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch of the validation split."""
        self._score(batch, "val", self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch of the test split."""
        self._score(batch, "test", self.test_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics and, unless told to keep it, choose the IoU's threshold by a sweep."""
        if not self.keep_threshold:
            self.iou_threshold = self.val_metrics.best_iou_threshold()
        self._summarise("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics, with the IoU at the threshold chosen on validation data."""
        self._summarise("test", self.test_metrics)

    def _score(self, batch: Batch, split: str, metrics: SplitMetrics) -> None:
        images = batch.images.to(self.dtype) / 255
        pair_images, pair_classes = batch.has_boxes().nonzero(as_tuple=True)
        if self.compiled is not None and self.trainer.world_size == 1:
            logits, maps = self.compiled.attribute_pairs(self.model, images, pair_images, pair_classes)
        else:
            logits, maps = attribute_pairs(self.attributor, self.model, images, pair_images, pair_classes)
        self.record = StepRecord(batch.indices)
        self.record.note("input", batch.images)
        self.record.note("logits", logits)
        for layer, of_layer in maps.items():
            name = "map" if len(maps) == 1 else f"map at {layer}"
            self.record.note(name, of_layer, pair_images)
        metrics.update(batch, logits, maps, pair_images, pair_classes)
        loss = _cross_entropy(logits, batch.labels).mean()
        name = f"{split}/classification_loss"
        self.log(name, loss, on_epoch=True, batch_size=len(batch), sync_dist=True)

    def _summarise(self, split: str, metrics: SplitMetrics) -> None:
        values, epg_per_class = metrics.compute(self.iou_threshold)
        named = {f"{split}/{name}": value for name, value in values.items()}
        self.log_dict(named, sync_dist=True)
        self.results |= named | {f"{split}/epg/{name}": value for name, value in epg_per_class.items()}

    # Checkpoints ----------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what evaluation needs to know, in plain types."""
        checkpoint["guidance"] = {
            "format_version": FORMAT_VERSION,
            "config": self.config,
            "classes": list(self.classes),
            "iou_threshold": self.iou_threshold,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another project or of other classes."""
        own = checkpoint.get("guidance")
        if own is None:
            raise InputError("this checkpoint was not written by this project (key 'guidance' is missing)")
        if own["classes"] != list(self.classes):
            raise InputError(
                f"the checkpoint was trained on {len(own['classes'])} classes "
                f"({', '.join(own['classes'][:5])}, ...), the data set has {len(self.classes)} "
                f"({', '.join(self.classes[:5])}, ...)"
            )
        self.iou_threshold = float(own["iou_threshold"])


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy per image, the mean over classes: [N]."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return losses.mean(dim=1)
