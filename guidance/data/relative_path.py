"""Names of files that come from outside and must stay within a folder."""

import re
from pathlib import Path


def leaves_folder(name: str) -> bool:
    """Return whether a file of this name may lie outside the folder that the name is relative to.

    Args:
        name: A path with slashes or backslashes.

    Returns:
        True for an absolute path and for one with ``..`` in it, wherever that leads; True for an empty one.
    """
    parts = re.split(r"[/\\]", name)
    return not parts[0] or ".." in parts or bool(Path(name).drive)
