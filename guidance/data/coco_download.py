"""Fetching the official COCO archives."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from guidance.data.remote_archive import RemoteArchive
from guidance.errors import InputError

_SERVER = "http://images.cocodataset.org"

ARCHIVES = {
    "annotations2014": RemoteArchive(
        f"{_SERVER}/annotations/annotations_trainval2014.zip",
        "md5:0a379cfc70b0e71301e0f377548639bd",
        252_872_794,
    ),
    "annotations2017": RemoteArchive(
        f"{_SERVER}/annotations/annotations_trainval2017.zip",
        "md5:f4bbac642086de4f52a3fdda2de5fa2c",
        252_907_541,
    ),
    "train2014": RemoteArchive(
        f"{_SERVER}/zips/train2014.zip", "md5:0da8c0bd3d6becc4dcb32757491aca88", 13_510_573_713
    ),
    "val2014": RemoteArchive(
        f"{_SERVER}/zips/val2014.zip", "md5:a3d79f5ed8d289b7a7554ce06a5782b3", 6_645_013_297
    ),
    "train2017": RemoteArchive(
        f"{_SERVER}/zips/train2017.zip", "md5:cced6f7f71b7629ddf16f17bbcfab6b2", 19_336_861_798
    ),
    "val2017": RemoteArchive(
        f"{_SERVER}/zips/val2017.zip", "md5:442b8da7639aecaf257c1dceb8ba8c80", 815_585_330
    ),
}
"""What COCO's server has: the annotations of a year's train and val, and the images of each."""


def download_coco(folder: Path, images: Path, missing: Callable[[], str]) -> None:
    """Download the archives that are missing and unpack them, unless another process just did.

    Args:
        folder: Where the archives lie, and what the annotations are unpacked into; made if needed.
        images: What the images are unpacked into.
        missing: Says which of ``ARCHIVES`` has what is missing (still); "" if nothing is.

    Raises:
        InputError: If a download fails, with the address to fetch by hand, or the unpacking.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Every process of a distributed run gets here at about the same time; one downloads, the others wait.
        with FileLock(folder / ".coco-download.lock"):
            fetched = {""}
            while (archive := missing()) not in fetched:
                ARCHIVES[archive].install(folder, folder if archive.startswith("annotations") else images)
                fetched.add(archive)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
