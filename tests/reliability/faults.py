"""Faults that strike in the middle of a run: callbacks for ``+callbacks.fault._target_=...``."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Fault(Callback):
    """Strikes once, before a step of one process.

    Args:
        step: The number of optimizer steps before it.
        rank: Of the process that it strikes.
        note: A file for the time of the monotonic clock, which all processes share.
    """

    def __init__(self, step: int, rank: int = 0, note: str | None = None) -> None:
        self.step = step
        self.rank = rank
        self.note = note

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            if self.note is not None:
                Path(self.note).write_text(str(time.monotonic()))
            self.strike()

    def strike(self) -> None:
        raise NotImplementedError


class FullDisk(Fault):
    """From now on the disk has no room for one file: what is written beside it goes to ``/dev/full``."""

    def __init__(self, step: int, path: str) -> None:
        super().__init__(step)
        self.path = Path(path)

    def strike(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.with_name(self.path.name + ".tmp").symlink_to("/dev/full")


class Lose(Fault):
    """Files disappear, or lose their second half."""

    def __init__(self, step: int, paths: list[str], half: bool = False) -> None:
        super().__init__(step)
        self.paths = [Path(path) for path in paths]
        self.half = half

    def strike(self) -> None:
        for path in self.paths:
            if self.half:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            else:
                path.unlink()


class KillWorker(Fault):
    """The system kills a loader's worker for memory."""

    def strike(self) -> None:
        worker = multiprocessing.active_children()[0].pid
        assert worker is not None
        os.kill(worker, signal.SIGKILL)


class KillProcess(Fault):
    """The system kills a process of the run for memory."""

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Raise(Fault):
    """A process finds a mistake of the project."""

    def strike(self) -> None:
        raise ZeroDivisionError("a mistake in one process")


class Stuck(Fault):
    """A process waits for something, for longer than a test does."""

    def strike(self) -> None:
        time.sleep(600)
