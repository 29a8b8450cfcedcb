"""Time variants of the same work in turn, A B C A B C, and print the ratios of each round.

Other work on the machine slows all variants of a round down alike, so ratios hold where times do not. By
default the clock counts the process's own CPU time, which others disturb least; with several threads use wall
time.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch

# Without these, memory of every step is handed back to the system and faulted in again.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000"}


def at_least_one(text: str) -> int:
    """Read a number of rounds, as the ``type`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on; got {text}")
    return int(text)


def restart_with_allocator() -> None:
    """Start this program again with an allocator that keeps its memory, unless it runs with one."""
    if any(os.environ.get(name) != value for name, value in _ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | _ALLOCATOR)  # noqa: S606


def compare(variants: Mapping[str, Callable[[], object]], rounds: int, clock: str) -> None:
    """Run each variant once to warm up, then all in turn; print how often the first takes as long.

    Args:
        variants: Name to work. Ratios are time of the first / time of each.
        rounds: Timed rounds.
        clock: ``cpu`` or ``wall``.
    """
    now = time.process_time if clock == "cpu" else time.perf_counter
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {clock} time, {rounds} rounds")
    for work in variants.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            begun = now()
            work()
            seconds[name].append(now() - begun)
        print(
            f"  load {os.getloadavg()[0]:.1f}:",
            *(f"{times[-1]:.2f} s" for times in seconds.values()),
            flush=True,
        )
    first = next(iter(seconds.values()))
    print(f"{'':28}{'seconds':>9}   ratio to the first: min / median / max")
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(first, times, strict=True))
        low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
        print(f"{name:28}{statistics.median(times):9.2f}   {low:.2f} / {middle:.2f} / {high:.2f}")
