"""Fetching the official PASCAL VOC archives."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from torchvision.datasets.voc import DATASET_YEAR_DICT

from guidance.data.remote_archive import RemoteArchive
from guidance.errors import InputError


def download_voc(root: Path, archive: str, is_complete: Callable[[], bool]) -> None:
    """Download an archive, check its MD5 and unpack it, unless another process just did.

    Args:
        root: The folder that gets (or has) the folder ``VOCdevkit``; made if missing.
        archive: torchvision's name of it: ``2007`` (train and val), ``2007-test`` or ``2012``.
        is_complete: Says whether there is nothing to do (any more).

    Raises:
        InputError: If the download fails, with the address to fetch by hand, or the unpacking.
    """
    source = DATASET_YEAR_DICT[archive]
    remote = RemoteArchive(source["url"], f"md5:{source['md5']}", name=source["filename"])
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Every process of a distributed run gets here at about the same time; one downloads, the others wait.
        with FileLock(root / ".voc-download.lock"):
            if not is_complete():
                remote.install(root)
    except OSError as error:
        raise InputError(f"cannot write to {root}: {error.strerror or error}") from error
