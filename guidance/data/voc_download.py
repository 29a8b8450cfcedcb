"""Fetching the official PASCAL VOC archives."""

import tarfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock
from torchvision.datasets.utils import download_and_extract_archive
from torchvision.datasets.voc import DATASET_YEAR_DICT

from guidance.errors import InputError


def download_voc(root: Path, archive: str, is_complete: Callable[[], bool]) -> None:
    """Download an archive, check its MD5 and unpack it, unless another process just did.

    Args:
        root: The folder that gets (or has) the folder ``VOCdevkit``; made if missing.
        archive: torchvision's name of it: ``2007`` (train and val), ``2007-test`` or ``2012``.
        is_complete: Says whether there is nothing to do (any more).

    Raises:
        InputError: If the download fails, with the address to fetch by hand.
    """
    source = DATASET_YEAR_DICT[archive]
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Every process of a distributed run gets here at about the same time; one downloads, the others wait.
        with FileLock(root / ".voc-download.lock"):
            if not is_complete():
                download_and_extract_archive(
                    source["url"], str(root), filename=source["filename"], md5=source["md5"]
                )
    except (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError) as error:
        raise InputError(
            f"cannot download {source['url']} to {root}: {error}. Fetch it by hand (MD5 {source['md5']}), "
            f"put it into that folder and run again with data.download=true, which then only unpacks it"
        ) from error
