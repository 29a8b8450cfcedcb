"""What a process holds: memory, tensors, files, threads, processes, hooks."""

import gc
import multiprocessing
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


@dataclass(frozen=True)
class Footprint:
    """Counts of one moment.

    Attributes:
        megabytes: Of memory that is resident.
        tensors: That are alive, after a collection.
        files: Open file descriptors.
        threads: Of Python.
        processes: Children that are alive.
        hooks: Of all modules of a model.
    """

    megabytes: float
    tensors: int
    files: int
    threads: int
    processes: int
    hooks: int

    @property
    def counts(self) -> dict[str, int]:
        """Return all but the memory, which no run repeats exactly."""
        return {name: count for name, count in asdict(self).items() if name != "megabytes"}


def footprint(model: nn.Module) -> Footprint:
    """Measure this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Footprint(
        megabytes=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        tensors=sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()),
        files=len(list(Path("/proc/self/fd").iterdir())),
        threads=threading.active_count(),
        processes=len(multiprocessing.active_children()),
        hooks=sum(len(getattr(module, hooks, ())) for module in model.modules() for hooks in _HOOKS),
    )


class Footprints(Callback):
    """Measures at the end of every epoch, when it has been validated and saved."""

    def __init__(self) -> None:
        self.found: list[Footprint] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found.append(footprint(pl_module))
