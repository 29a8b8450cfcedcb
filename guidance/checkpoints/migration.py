"""The version of what this project writes into a checkpoint, and the way from older ones to it."""

from collections.abc import Callable, Mapping
from typing import Any

from guidance.errors import InputError

FORMAT_VERSION = 1
"""Version of a checkpoint's key ``guidance`` and of what the other keys mean to this project."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes a checkpoint of version n + 1 out of one of version n; it may change its argument."""

MIGRATIONS: Mapping[int, Migration] = {}
"""The migration from each older version n to n + 1."""


def migrate(
    content: dict[str, Any],
    where: str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    version: int = FORMAT_VERSION,
) -> dict[str, Any]:
    """Bring a checkpoint to a version, one step at a time.

    Args:
        content: As the file has it, whole: weights, optimizer, callbacks and the key ``guidance``.
        where: The file, for messages.
        migrations: For each older version, the step to the next.
        version: The one to reach.

    Returns:
        The content in that version; itself if it has it already.

    Raises:
        InputError: If it is of another project, of a newer version, or says no version that ever was.
    """
    while True:
        own = content.get("guidance")
        if not isinstance(own, dict):
            raise InputError(f"{where} was not written by this project (key 'guidance' is missing)")
        found = own.get("format_version")
        if type(found) is not int or not 1 <= found < 2**31:
            raise InputError(f"{where} is damaged: its format_version is {_shown(found)}, no version")
        if found == version:
            return content
        if found > version:
            raise InputError(
                f"{where} has format {found}, this version reads up to {version}: it was written by a newer "
                "version of this project; update it (git pull)"
            )
        content = migrations[found](content)
        content["guidance"]["format_version"] = found + 1


def _shown(version: Any) -> str:
    return "a number beyond all" if type(version) is int and version >= 2**31 else repr(version)[:40]
