"""Processes of a run that end when the one that started them is gone."""

import os
import sys
import threading
import time

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

_NAME = "orphan-watch"
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_TO_END_BY_ITSELF = 20.0


def end_when_orphaned(trainer: pl.Trainer) -> None:
    """Let a process that Lightning started end within half a minute after the first one of the run.

    Lightning has the first process watch the others, but not the reverse: killed, for memory say, it
    would leave others that wait for it, on a GPU for as long as the communication's own limit, and hold their
    devices.

    Args:
        trainer: Of the process. In the first one, and where something else starts the processes (SLURM,
            torchrun), nothing is done.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    watched = any(thread.name == _NAME for thread in threading.enumerate())
    if isinstance(environment, LightningEnvironment) and trainer.local_rank > 0 and not watched:
        threading.Thread(target=_watch, args=(os.getppid(),), name=_NAME, daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    time.sleep(_SECONDS_TO_END_BY_ITSELF)  # as it does after a run that ended well
    print(
        "Error: the first process of this run died, and this one ends with it. If it left no message, the "
        "system killed it, most often because memory ran out",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
