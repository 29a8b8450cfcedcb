"""Files that are either the old one or the new one, whole, whenever the process dies."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
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
