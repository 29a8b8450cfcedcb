"""Stops before a step that is not finite, or leaves it out, and says what was wrong in which image."""

import logging
import shlex
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from guidance.callbacks.failed_step import (
    WEIGHTS_ADVICE,
    advice,
    failed_step,
    finding_rank,
    gathered,
    image_namer,
)
from guidance.data import Batch
from guidance.errors import InputError, unknown_name
from guidance.files import write_atomically
from guidance.replay.reproducer import Failure, write_failure
from guidance.training.finding import (
    Finding,
    describe,
    findings_of,
    gradient_finding,
    weights_finding,
)
from guidance.training.module import GuidedClassifier
from guidance.training.step_record import StepRecord

log = logging.getLogger(__name__)

OnFailure = Literal["stop", "skip"]
FAILURE_FILE = "failure.pt"


class FiniteGuard(Callback):
    """Judge every training step before it changes the weights, and every evaluated batch.

    A step fails if its loss is nan or infinite in any process, or the norm of its whole gradient is, which is
    also so where squares of finite gradients overflow. One flag a step is read from the device; what was not
    finite, and in which images, is only looked up after a failure. Weights and running statistics are then
    those of before the step, in every process.

    * ``stop`` ends the training with an :class:`~guidance.errors.InputError`.
    * ``skip`` leaves the step out: no weight, no state of the optimizer and no running statistic changes; the
      step counts as done. Their number is logged as ``train/skipped_steps`` with every epoch. More than
      ``max_in_a_row`` together end the training, and so do weights that are not finite.

    The step that ended the training, and the first one skipped, are written to ``failure.pt`` (see
    :func:`guidance.replay.write_failure`) and told of in ``failure.txt``.

    With ``trainer.precision=16-mixed`` gradients that overflow are left to the gradient scaler, which skips
    the step by itself and lowers its scale, until the scale is below 1.

    An evaluation whose input, logits or maps are not finite ends with an error that names the images; with
    ``skip`` it goes on, warns, and their number is logged as ``val/not_finite_images``. A checkpoint with
    weights that are not finite is not saved.

    Args:
        dirpath: The folder of both files.
        on_failure: ``stop`` or ``skip``.
        max_in_a_row: The most steps skipped together, >= 1.

    Raises:
        InputError: If an option is wrong.
    """

    def __init__(self, dirpath: str | Path, on_failure: OnFailure = "stop", max_in_a_row: int = 10) -> None:
        if on_failure not in get_args(OnFailure):
            raise unknown_name("callbacks.finite.on_failure", on_failure, get_args(OnFailure))
        if not isinstance(max_in_a_row, int) or max_in_a_row < 1:
            raise InputError(
                f"callbacks.finite.max_in_a_row must be an integer, at least 1; got {max_in_a_row}"
            )
        self.path = Path(dirpath) / FAILURE_FILE
        self.on_failure = on_failure
        self.max_in_a_row = max_in_a_row
        self.skipped = 0
        self._in_a_row = 0
        self._batches: list[tuple[Batch, StepRecord]] = []
        self._loss_finite: Tensor | None = None
        self._buffers: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._evaluated: list[Finding] = []

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were skipped, in all and last together."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts."""
        self.skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    # Training -------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make room for the running statistics of before a step."""
        self._buffers = list(cast(GuidedClassifier, pl_module).model.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        self._batches, self._loss_finite = [], None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the running statistics of before the step, which may be made of several batches."""
        if not self._batches:
            _copy(self._buffers, self._kept)
        self._batch = batch

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Note whether the loss is finite, without waiting for the device."""
        record = cast(StepRecord, pl_module.record)
        finite = torch.isfinite(record.value("loss"))
        self._loss_finite = finite if self._loss_finite is None else self._loss_finite & finite
        self._batches.append((self._batch, record))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge the step.

        Raises:
            InputError: If it is not finite and the training ends.
        """
        module = cast(GuidedClassifier, pl_module)
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        finite = torch.stack([cast(Tensor, self._loss_finite), get_total_norm(gradients).isfinite()]).int()
        if trainer.world_size > 1:
            dist.all_reduce(finite, dist.ReduceOp.MIN)
        loss_finite, gradient_finite = finite.tolist()  # the one wait for the device
        batches, self._batches, self._loss_finite = self._batches, [], None
        if loss_finite and (gradient_finite or _scaler_lowers(trainer)):
            self._in_a_row = 0
            return
        _copy(self._kept, self._buffers)
        self._fail(trainer, module, batches)
        for parameter in module.parameters():
            parameter.grad = None  # no optimizer touches a parameter without a gradient, nor its state

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show how many steps were skipped, once there are any."""
        if self.skipped:
            pl_module.log("skipped", float(self.skipped), prog_bar=True, logger=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log how many steps were skipped, once there are any."""
        if self.skipped:
            pl_module.log("train/skipped_steps", float(self.skipped))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how many steps were skipped."""
        if self.skipped:
            rank_zero_only(log.warning)(
                "%d of %d steps were not finite and were skipped; the first: %s",
                self.skipped,
                trainer.global_step,
                self.path,
            )

    @property
    def _command(self) -> str:
        return f"python -m guidance.replay {shlex.quote(str(self.path))}"

    def _fail(
        self, trainer: pl.Trainer, module: GuidedClassifier, batches: list[tuple[Batch, StepRecord]]
    ) -> None:
        """Report a step; return only if it is to be skipped.

        Raises:
            InputError: If the training ends.
        """
        own = [findings_of(record, finding_rank(trainer)) for _, record in batches]
        everyone = [gathered(trainer, one) for one in own]
        # Of the batches that a step accumulates the first with a finding, or the last.
        number = next((i for i, found in enumerate(everyone) if any(found)), len(batches) - 1)
        findings = [finding for found in everyone[number] for finding in found]
        weights = weights_finding(module.model)
        findings += [finding for finding in (weights, gradient_finding(module.model)) if finding is not None]
        failure = failed_step(trainer, *batches[number], findings)

        place = f"epoch {failure.epoch}, step {failure.step}"
        names = dict(zip(failure.batch.indices.tolist(), failure.names, strict=True))
        text = f"{place}: {describe(findings, names.__getitem__)}"
        self._in_a_row += 1
        skips = self.on_failure == "skip" and weights is None and self._in_a_row <= self.max_in_a_row
        if not skips or self.skipped == 0:
            if trainer.is_global_zero:
                full = f"{place}: {describe(findings, names.__getitem__, shown=None)}"
                self._write(failure, module, full)
            trainer.strategy.barrier()
        if skips:
            self.skipped += 1
            rank_zero_only(log.warning)("skipped a step that is not finite, %s", text)
            return
        after = f" after {self._in_a_row - 1} skipped together" if self._in_a_row > 1 else ""
        raise InputError(
            f"training is not finite in {text}. Stopped{after} with the weights of before the step. "
            f"{advice(findings)}. See it again: {self._command}"
        )

    def _write(self, failure: Failure, module: GuidedClassifier, text: str) -> None:
        try:
            write_failure(self.path, failure, module)
            write_atomically(self.path.with_suffix(".txt"), f"{text}\n{self._command}\n")
        except OSError as error:  # the failure itself is the news
            log.warning("cannot write %s: %s", self.path, error)

    # Evaluation -----------------------------------------------------------------------------------------

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Judge a batch."""
        record = cast(StepRecord, pl_module.record)
        if not record.all_finite():
            self._evaluated += findings_of(record, finding_rank(trainer))

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Judge a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report what was not finite on val."""
        self._report_evaluation(trainer, cast(GuidedClassifier, pl_module), "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report what was not finite on test."""
        self._report_evaluation(trainer, cast(GuidedClassifier, pl_module), "test")

    def _report_evaluation(self, trainer: pl.Trainer, module: GuidedClassifier, split: str) -> None:
        """Report an evaluation, in every process alike.

        Raises:
            InputError: If it is not finite and the run ends.
        """
        findings = [finding for found in gathered(trainer, self._evaluated) for finding in found]
        self._evaluated = []
        if not findings:
            return
        weights = weights_finding(module.model)
        found = findings + ([] if weights is None else [weights])
        text = f"the evaluation of {split} is not finite: {describe(found, image_namer(trainer, split))}"
        if self.on_failure == "stop" or weights is not None:
            raise InputError(f"{text}. {advice(found)}")
        images = {index for finding in findings for index in finding.images}
        module.log(f"{split}/not_finite_images", float(len(images)))
        module.results[f"{split}/not_finite_images"] = float(len(images))
        rank_zero_only(log.warning)("%s", text)

    # Checkpoints ----------------------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to save weights that are not finite.

        Raises:
            InputError: Naming them.
        """
        model = cast(GuidedClassifier, pl_module).model
        found = weights_finding(model)
        everyone = [one for one in gathered(trainer, found) if one is not None]
        if everyone:
            raise InputError(
                f"the checkpoint of epoch {trainer.current_epoch}, step {trainer.global_step} is not saved, "
                f"for these are not finite: {describe(everyone, str)}. {WEIGHTS_ADVICE}"
            )


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)


def _scaler_lowers(trainer: pl.Trainer) -> bool:
    """Whether a gradient scaler deals with a gradient that overflows, by skipping and a smaller scale."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and scaler.get_scale() >= 1
