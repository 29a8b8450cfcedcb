"""Named moments at which a training kills itself: installed by the tests alone, the product knows of none."""

import builtins
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class KillPoint:
    """When a process sends itself a signal.

    Attributes:
        where: ``replace``: a file is renamed to its name; ``write``: one is written in place; ``unlink``: one
            is deleted; ``train``, ``val``, ``test``: in a step; ``optimizer``: the weights just changed;
            ``call``: anywhere, at a Python function's call.
        path: What the file's path has to match, with ``*``.
        number: At which of these moments, from 1.
        how: ``before``, ``after``, or ``torn``: with half of the file, or of what is appended to it, on disk.
        signal: SIGKILL ends the process there; after any other signal it goes on, if its handler lets it.
        others: Whether the signal goes to the other processes of the session, the other ranks, instead.
    """

    where: str
    path: str = "*"
    number: int = 1
    how: str = "before"
    signal: int = signal.SIGKILL
    others: bool = False

    def __str__(self) -> str:
        what = "" if self.path == "*" else f" {self.path.lstrip('*/')}"
        whom = " of the other" if self.others else ""
        return f"{self.how} {self.where}{what} #{self.number}{whom}"


class _Trigger:
    """Counts the moments that match, and tells the one at which to strike."""

    def __init__(self, point: KillPoint) -> None:
        self.point = point
        self.seen = 0

    def is_now(self, path: Any = "") -> bool:
        if not fnmatch(os.fspath(path) if not isinstance(path, int) else "", self.point.path):
            return False
        self.seen += 1
        return self.seen == self.point.number

    def strike(self) -> None:
        own = os.getpid()
        for pid in [pid for pid in session(os.getsid(0)) if pid != own] if self.point.others else [own]:
            os.kill(pid, self.point.signal)


def session(number: int) -> dict[int, str]:
    """Return the living processes of a session, and their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own = (folder / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(own) == number and state != "Z":
                name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = name.strip()
        except (OSError, ValueError):
            continue  # it has just ended
    return found


def install(point: KillPoint) -> None:
    """Make this process strike itself at a moment."""
    trigger = _Trigger(point)
    if point.where == "replace":
        os.replace = _around(os.replace, trigger, path_argument=1)
    elif point.where == "unlink":
        os.unlink = _around(os.unlink, trigger, path_argument=0)
    elif point.where == "write":
        builtins.open = io.open = _opening(builtins.open, trigger)
    elif point.where == "call":
        sys.setprofile(_calls(trigger))
    else:
        _in_a_step(trigger)


def _around(real: Callable[..., None], trigger: _Trigger, path_argument: int) -> Any:
    def call(*arguments: Any, **named: Any) -> None:
        if not trigger.is_now(arguments[path_argument]):
            return real(*arguments, **named)
        if trigger.point.how == "torn":
            os.truncate(arguments[0], Path(arguments[0]).stat().st_size // 2)
        if trigger.point.how != "after":
            trigger.strike()
        real(*arguments, **named)
        if trigger.point.how == "after":
            trigger.strike()
        return None

    return call


def _opening(real: Callable[..., Any], trigger: _Trigger) -> Any:
    def open_(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        writes = any(letter in mode for letter in "wax+")
        if not writes or not trigger.is_now(file):
            return real(file, mode, *arguments, **named)
        opened = real(file, mode, *arguments, **named)
        if trigger.point.how == "before":  # opened, which may have emptied it, and nothing written
            trigger.strike()
        write = opened.write

        def half(content: Any) -> Any:
            write(content[: len(content) // 2])
            opened.flush()
            trigger.strike()
            return write(content[len(content) // 2 :])

        opened.write = half
        return opened

    return open_


def _calls(trigger: _Trigger) -> Any:
    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            trigger.seen += 1
            if trigger.seen == trigger.point.number:
                sys.setprofile(None)
                trigger.strike()

    return count


def count_calls(path: Path) -> None:
    """Write how many Python functions this process called, when it ends."""
    import atexit

    trigger = _Trigger(KillPoint("call", number=-1))
    sys.setprofile(_calls(trigger))

    def end() -> None:
        sys.setprofile(None)
        path.write_text(str(trigger.seen))

    atexit.register(end)


def _in_a_step(trigger: _Trigger) -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from guidance.training.guided_step import GuidedStep
    from guidance.training.module import GuidedClassifier

    def strike(*_: Any) -> None:
        if trigger.is_now():
            trigger.strike()

    if trigger.point.where == "optimizer":
        register_optimizer_step_post_hook(strike)
    elif trigger.point.where == "train":
        counts = GuidedStep._global_counts

        def counted(self: GuidedStep, batch: Any, rounds: Any, world: int) -> Any:
            strike()
            return counts(self, batch, rounds, world)

        GuidedStep._global_counts = counted  # type: ignore[method-assign]
    else:
        score = GuidedClassifier._score

        def scored(self: GuidedClassifier, batch: Any, split: str, metrics: Any) -> None:
            if split == trigger.point.where:
                strike()
            score(self, batch, split, metrics)

        GuidedClassifier._score = scored  # type: ignore[method-assign]
