"""The error for what a user can put right, its kind for files, and the nearest-name hint it carries."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave (a file, a key, an option) is wrong; the message says what would be right."""


class WriteError(InputError, OSError):
    """A file that the system did not let be written, on a full disk for example; the message names it."""


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
