"""The checkpoint that a killed run continues from."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from guidance.errors import InputError


class LastCheckpoint(Checkpoint):
    """Keep ``dirpath/last.ckpt`` up to date: after every epoch's validation, and every so many steps.

    Being a ``Checkpoint``, it runs after all other callbacks, whose state it thus saves complete. The file
    is replaced as a whole (see :class:`guidance.files.AtomicCheckpointIO`).

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

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in mid-epoch. The last step is left to the end of the epoch, when it has been validated."""
        step = trainer.global_step
        stepped = step != self._saved_step and (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.every_n_steps and stepped and step % self.every_n_steps == 0 and not trainer.is_last_batch:
            self._saved_step = step
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch."""
        trainer.save_checkpoint(self.path)
