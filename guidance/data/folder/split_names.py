"""Names that tell a split."""

import posixpath
import re

SPLITS = ("train", "val", "test")

_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def split_of_name(name: str) -> str | None:
    """Return the split that a folder's name means, if any.

    ``train``, ``val``, ``test`` or ``training``, ``valid``, ``validation``, ``testing``, in any case, perhaps
    with a year, as in ``train2017``.
    """
    return _NAMES.get(re.sub(r"\d{4}$", "", name).lower())


def split_of_folders(path: str) -> str | None:
    """Return the split that the folders of a file's path tell; the outermost one that does decides."""
    for folder in posixpath.dirname(path).split("/"):
        split = split_of_name(folder)
        if split is not None:
            return split
    return None
