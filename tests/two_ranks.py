"""Run a function in two gloo processes."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _entry(rank: int, worker: Callable[[int], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(worker(rank), folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def on_two_ranks(worker: Callable[[int], Any], folder: Path) -> list[Any]:
    """Return what ``worker(rank)``, a module-level function, returned on each of two ranks."""
    # The server imports what takes seconds once, for all tests of the session.
    preloaded = ["torch", "torchmetrics", "hypothesis", "guidance.training.guided_step", "guidance.metrics"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(preloaded)
    mp.start_processes(  # type: ignore[attr-defined, no-untyped-call]
        _entry, args=(worker, folder), nprocs=2, start_method="forkserver"
    )
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
