"""What a user can put right, its kind for files, the end that was asked for, and the nearest-name hint."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class InputError(ValueError):
    """Something the user gave (a file, a key, an option) is wrong; the message says what would be right."""


class WriteError(InputError, OSError):
    """A file that the system did not let be written, on a full disk for example; the message names it."""


class StoppedError(BaseException):
    """A signal asked the program to end. Nothing is wrong, so that no ``except Exception`` may catch it.

    Args:
        number: The signal.
        saved: The checkpoint that was saved for it, if any.
        step: The number of optimizer steps in that checkpoint.
    """

    def __init__(self, number: int, saved: Path | None = None, step: int = 0) -> None:
        super().__init__(number, saved, step)
        self.signal = signal.Signals(number)
        self.saved = saved
        self.step = step

    def __str__(self) -> str:
        if self.saved is None:
            return f"stopped by {self.signal.name}: not in a training's steps"
        return f"stopped by {self.signal.name}: step {self.step} is saved in {self.saved}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that does not exist.

    Args:
        kind: What the name stands for, e.g. ``"layer"``.
        name: The name that was given.
        known: The names that exist.

    Returns:
        An :class:`InputError` that lists the known names and the nearest match, if one is near.
    """
    options = sorted(known)
    near = get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(options) or 'none'}")
