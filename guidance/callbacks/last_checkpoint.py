"""The checkpoint that a killed run continues from."""

from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from guidance.errors import InputError, StoppedError
from guidance.processes.stopping import asked, hold, release


class LastCheckpoint(Checkpoint):
    """Keep ``dirpath/last.ckpt`` up to date: after every epoch's validation, and every so many steps.

    Asked to stop (see :mod:`guidance.processes.stopping`), it saves after the current step, or in the midst
    of a validation, which is then made anew, and ends the run.

    Being a ``Checkpoint``, it runs after all other callbacks, whose state it thus saves complete; among
    several ``Checkpoint`` it has to be the last of the trainer's list. The file is replaced as a whole (see
    :class:`guidance.checkpoints.checkpoint_io.AtomicCheckpointIO`).

    Args:
        dirpath: Folder of the checkpoint.
        every_n_steps: Save in mid-epoch too, whenever the number of optimizer steps is a multiple of
            this; 0 saves at the ends of epochs only.

    Raises:
        InputError: If ``every_n_steps`` is negative.
    """

    def __init__(self, dirpath: str | Path, every_n_steps: int = 0) -> None:
        super().__init__()
        if every_n_steps < 0:
            raise InputError(f"callbacks.last.every_n_steps must be at least 0; got {every_n_steps}")
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self._saved_step = -1
        self._amid: Literal["step", "validation"] | None = None
        self._batches_to_look_after = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let signals wait for the end of a step."""
        hold()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in mid-epoch. The last step is left to the end of the epoch, when it has been validated."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches or trainer.is_last_batch:
            return
        step = trainer.global_step
        number = asked(trainer)
        due = self.every_n_steps and step != self._saved_step and step % self.every_n_steps == 0
        if due or number:
            self._saved_step = step
            self._save_amid(trainer, "step")
            self._stop(trainer, number or asked(trainer))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Agree on the batches after which to look: processes may differ by one, and the end comes anyway."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        batches = torch.tensor(sum(trainer.num_val_batches), device=trainer.strategy.root_device)
        if trainer.world_size > 1:
            dist.all_reduce(batches, dist.ReduceOp.MIN)
        self._batches_to_look_after = int(batches) - 1

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop in the midst of a training's validation, if asked to."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if batch_idx < self._batches_to_look_after and (number := asked(trainer)):
            self._save_amid(trainer, "validation")
            self._stop(trainer, number)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch."""
        trainer.save_checkpoint(self.path)
        self._stop(trainer, asked(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let signals act at once again; the end of the last epoch is saved."""
        number = asked(trainer)
        release()
        self._stop(trainer, number)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Let signals act at once again."""
        release()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a checkpoint within an epoch lacks.

        After a step, that is what the loggers have yet to be told of it (``unlogged``). A validation's scores
        are no part of a checkpoint: it is made to look as if the first batch had just been begun, so that
        Lightning repeats the whole.
        """
        every = cast(Any, trainer).log_every_n_steps
        if self._amid == "step" and every and trainer.global_step % every == 0:
            checkpoint["unlogged"] = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("train/")
            }
        if self._amid == "validation":
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress |= {"total": begun, "current": dict.fromkeys(begun, 0), "is_last_batch": False}

    def _save_amid(self, trainer: pl.Trainer, what: Literal["step", "validation"]) -> None:
        self._amid = what
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._amid = None

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        if number:
            raise StoppedError(number, self.path, trainer.global_step)
