"""The training module: classification loss + weight * localization loss, and the metrics of both."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from guidance.attribution import Attributor, CompiledExplanations, attribute_pairs
from guidance.checkpoints.migration import FORMAT_VERSION
from guidance.data import Batch, TrainingBatchSampler
from guidance.errors import InputError
from guidance.metrics import SplitMetrics
from guidance.models import Classifier
from guidance.randomness import hash_integers
from guidance.training.guidance_rounds import GuidedClasses
from guidance.training.guided_step import GuidedStep, Plan, Reduction, cross_entropy
from guidance.training.step_record import StepRecord
from guidance.training.teacher import Teacher


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
        compiled_batch_size: If given, batches of so many images, over all processes, are trained on, and
            smaller ones evaluated, by :class:`~guidance.attribution.CompiledExplanations`, where it fits.
        partly_annotated: Whether images without annotations are to be expected; only several processes need
            to know, see :class:`~guidance.training.guided_step.GuidedStep`.
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
        partly_annotated: bool = False,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        attributor.check(model)
        self.model = model
        self.attributor = attributor
        self.classes = tuple(classes)
        compiled = CompiledExplanations(attributor, compiled_batch_size) if compiled_batch_size else None
        self.guided_step = GuidedStep(
            attributor,
            localization,
            weight,
            guided_classes,
            teacher,
            reduction,
            seed,
            compiled,
            partly_annotated,
        )
        self.localization = self.guided_step.localization  # modules move with the module that they belong to
        self.teacher = teacher
        self.make_optimizer = optimizer
        self.seed = seed
        self.config = dict(config or {})
        self.iou_threshold = 0.5
        self.keep_threshold = False
        self.results: dict[str, float] = {}
        self.val_metrics = SplitMetrics(self.classes, attributor.layers, multi_label, groups, has_masks)
        self.test_metrics = SplitMetrics(self.classes, attributor.layers, multi_label, groups, has_masks)
        self._compiled_batch_size = compiled_batch_size
        self._plan = Plan(1, slice(None))
        self.record: StepRecord | None = None

    def configure_optimizers(self) -> Optimizer:
        """Make the optimizer of all trainable parameters."""
        return self.make_optimizer([p for p in self.parameters() if p.requires_grad])

    def setup(self, stage: str) -> None:
        """Share the images of a compiled step out to the processes, whose number is known now."""
        compiled, images = self.guided_step.compiled, self._compiled_batch_size
        if compiled is None or images is None:
            return
        world = self.trainer.world_size
        compiled.batch_size = math.ceil(images / world)
        if stage == "fit" and images % world:
            compiled.warn(
                f"in training, since data.batch_size={images} is no multiple of the {world} processes"
            )

    # Training -------------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note what to guide while the batch is still in main memory."""
        self._plan = self.guided_step.plan(batch)
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
        sampler = self._sampler()
        images = None if sampler is None else sampler.images(batch_idx, batch_idx + 1)
        losses, record = self.guided_step.losses(
            self.model, batch, self._plan, self.current_epoch, self.trainer.world_size, images
        )
        for name, value in losses.items():
            self.log(f"train/{name}", value.detach(), batch_size=len(batch), prog_bar=name == "loss")
        self.record = record.detached()
        together = self.trainer.accumulate_grad_batches
        if together == 1:
            return losses["loss"]
        # Lightning divides by ``together``, also where an epoch ends with fewer batches.
        share = self._share_of_step(batch_idx)
        step = self.guided_step
        if "localization_loss" in losses and step.reduction == "sum":
            localization = step.weight * losses["localization_loss"]
            return together * (share * losses["classification_loss"] + localization)
        return together * share * losses["loss"]

    def _share_of_step(self, batch_idx: int) -> float:
        """Return which part of the images of an optimizer step, of all processes, a batch has.

        With batches that no :class:`~guidance.data.TrainingBatchSampler` makes, they count as equally large.
        """
        first = batch_idx - batch_idx % self.trainer.accumulate_grad_batches
        stop = min(first + self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches))
        sampler = self._sampler()
        if sampler is None:
            return 1 / (stop - first)
        return sampler.images(batch_idx, batch_idx + 1) / sampler.images(first, stop)

    def _sampler(self) -> TrainingBatchSampler | None:
        sampler = getattr(self.trainer.train_dataloader, "batch_sampler", None)
        return sampler if isinstance(sampler, TrainingBatchSampler) else None

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
        compiled = self.guided_step.compiled
        if compiled is not None:
            logits, maps = compiled.attribute_pairs(self.model, images, pair_images, pair_classes)
        else:
            logits, maps = attribute_pairs(self.attributor, self.model, images, pair_images, pair_classes)
        self.record = StepRecord(batch.indices)
        self.record.note("input", batch.images)
        self.record.note("logits", logits)
        for layer, of_layer in maps.items():
            name = "map" if len(maps) == 1 else f"map at {layer}"
            self.record.note(name, of_layer, pair_images)
        metrics.update(batch, logits, maps, pair_images, pair_classes)
        loss = cross_entropy(logits, batch.labels).mean()
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
