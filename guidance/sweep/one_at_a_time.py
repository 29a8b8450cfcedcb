"""One process at a time in a run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pytorch_lightning.utilities import rank_zero_only

from guidance.errors import InputError

_SECONDS = 15.0
"""How long the lock is waited for: a killed process's loader workers hold it until they find it gone."""


@contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Keep a run's folder for this process and the ranks of its job; a killed process gives it back.

    Raises:
        InputError: If another process has it.
    """
    if getattr(rank_zero_only, "rank", None):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "running.lock", timeout=_SECONDS):
            yield
    except Timeout as error:
        raise InputError(f"another process is running this job in {folder}") from error
