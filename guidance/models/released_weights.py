"""Released weights: fetched once into torch's cache, checked, and read."""

import re
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from guidance.download import download, has_checksum
from guidance.errors import InputError
from guidance.models.weights import load_weights_only

# The first digits of the SHA-256, as torch writes them into the names of released files.
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")


def is_released(url: str) -> bool:
    """Say whether a file's name has the hash that it can be verified by."""
    return _DIGEST.search(url.rpartition("/")[2]) is not None


def fetch_weights(url: str) -> Path:
    """Fetch a file of weights, unless it is in torch's cache, and verify it by the hash in its name.

    The cache is ``torch.hub.get_dir()/checkpoints``, with torch's file names, so that what other programs
    fetched is used. A file that is there is verified too, and fetched again if it is damaged. A broken
    download is taken up where it broke, by this process or a later one. Of several processes that ask at
    once, one downloads and the others wait.

    Args:
        url: ``http`` or ``https``; the file's name ends in ``-``, the first 8 or more digits of its SHA-256,
            and a suffix.

    Returns:
        Where the file is.

    Raises:
        InputError: If it cannot be had, naming the address, the file's place and what to do.
        ValueError: If there is no hash in the name.
    """
    name = url.rpartition("/")[2]
    digest = _DIGEST.search(name)
    if digest is None:
        raise ValueError(f"the name of released weights has a hash; got {url}")
    checksum = f"sha256:{digest[1]}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        if not has_checksum(path, checksum):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{name}.lock")):
                download(url, path, checksum)
    except OSError as error:
        raise _unavailable(f"cannot write {path}: {error.strerror or error}", url, path) from error
    except InputError as error:
        raise _unavailable(str(error), url, path) from error
    return path


def download_weights(url: str) -> dict[str, Tensor]:
    """Fetch a released state dict and read it, without running anything that the file may contain.

    Args:
        url: As for :func:`fetch_weights`.

    Raises:
        InputError: If it cannot be had or read.
    """
    weights: dict[str, Tensor] = load_weights_only(fetch_weights(url))
    return weights


def _unavailable(reason: str, url: str, path: Path) -> InputError:
    return InputError(
        f"{reason}. Without a network: fetch {url} elsewhere and put it at {path}, or give a file of weights "
        "of this model as model.checkpoint, or set model.pretrained=false"
    )
