"""Signals that ask a training to end: it finishes the step, saves a checkpoint and leaves."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from guidance.errors import StoppedError

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # Windows has two of them
]
_SECONDS_TO_END = 20.0


class _Asked:
    """What this process was asked for; signals belong to the process, and so does this."""

    active = False
    holding = False
    number = 0


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and SIGUSR2 into :class:`StoppedError` within the block.

    It is raised at once, or, between :func:`hold` and :func:`release`, where the holder looks with
    :func:`asked`. A second Ctrl-C does not wait for the holder; other signals that are repeated, as
    schedulers do, change nothing. Signals that are ignored stay ignored. A handler that was there before, as
    submitit's, which puts the job back into the queue, is called when the block is left.

    A block within another, or in another thread than the main one, does nothing.

    Raises:
        StoppedError: When asked to.
    """
    if _Asked.active or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    _Asked.active, _Asked.holding, _Asked.number = True, False, 0
    for number in handlers:
        signal.signal(number, _handle)
    stopped: StoppedError | None = None
    try:
        yield
    except StoppedError as error:
        stopped = error
        raise
    finally:
        _Asked.active = _Asked.holding = False
        for number, handler in handlers.items():
            signal.signal(number, handler)
        earlier = handlers.get(stopped.signal) if stopped is not None else None
        if stopped is not None and callable(earlier) and earlier is not signal.default_int_handler:
            earlier(stopped.signal, None)


def _handle(number: int, frame: FrameType | None) -> None:
    again = _Asked.number != 0
    _Asked.number = _Asked.number or number
    if not _Asked.holding or (again and number == signal.SIGINT):
        raise StoppedError(_Asked.number)


def hold() -> None:
    """Let signals wait: the caller promises to look with :func:`asked` and to raise, within seconds."""
    _Asked.holding = _Asked.active


def release() -> None:
    """Let signals act at once again."""
    _Asked.holding = False


def asked(trainer: pl.Trainer) -> int:
    """Return the signal that any process of a run was asked to stop with, or 0; call it on every rank.

    Args:
        trainer: Knows how many processes there are, and their device.
    """
    if trainer.world_size == 1:
        return _Asked.number
    number = torch.tensor(_Asked.number, device=trainer.strategy.root_device)
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return int(number)


def leave_signals_alone(trainer: pl.Trainer) -> None:
    """Keep Lightning from handling signals itself.

    Its handler of SIGTERM communicates between processes wherever in a step they are, which can hang, and
    saves nothing. On SLURM its handler of SIGUSR1 saves into the working folder, in mid-step, what the next
    run of whatever configuration would silently continue from.
    """
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = lambda: None


@contextmanager
def ending_together(trainer: pl.Trainer) -> Iterator[None]:
    """Let the processes that Lightning started end with this one when it is asked to stop.

    Raises:
        StoppedError: From the block, when they have ended.
    """
    try:
        yield
    except StoppedError as stopped:
        processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        if stopped.saved is None:  # else they were asked in the same step
            for process in processes:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        processes.clear()  # Lightning would kill this process for one that did not end by itself
        raise
