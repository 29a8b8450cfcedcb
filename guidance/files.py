"""Files that are either the old one or the new one, whole, whenever the process dies."""

import json
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guidance.errors import WriteError

log = logging.getLogger(__name__)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what is written there becomes ``path`` when the block ends.

    The folder is made if needed. If the block raises, the old file stays as it was and the temporary one is
    removed. The temporary name is always ``path.tmp``, so that one left behind by a killed process is
    replaced; a path must have one writer at a time. A link in either place is replaced, not followed.

    Raises:
        WriteError: Naming the path, if the system refuses: a full disk, a folder that may not be written to.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, path)  # noqa: PTH105 - the call whose atomicity is promised
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _flush_to_disk(path.parent)
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> WriteError:
    if isinstance(error, WriteError):
        return error
    made = WriteError(
        f"cannot write {path}: {error.strerror or error}. Its folder must be writable and its disk have "
        "room; an earlier file of that name is unharmed"
    )
    made.strerror = error.strerror
    return made


@contextmanager
def going_on_without(loss: str) -> Iterator[None]:
    """Turn a :class:`~guidance.errors.WriteError` within the block into a warning: for what can be missed.

    Args:
        loss: What there will not be, for the warning.
    """
    try:
        yield
    except WriteError as error:
        log.warning("%s; going on without %s", error, loss)


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file through :func:`replacing`; text is encoded as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def _without_nan(value: Any) -> Any:
    """Replace nan and infinities, which JSON does not know, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | Path, data: Any) -> None:
    """Write plain data as JSON, atomically, keys in their order; nan and infinities become null.

    Raises:
        TypeError: If ``data`` holds something that JSON does not know.
    """
    write_atomically(path, json.dumps(_without_nan(data), indent=2, allow_nan=False) + "\n")
