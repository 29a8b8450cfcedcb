"""The squashed images of a split in one memory-mapped file."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from guidance.data.image_dataset import ImageDataset
from guidance.data.squashed import read_image, squash
from guidance.errors import InputError
from guidance.files import write_json
from guidance.progress import progress_over

_VERSION = 1  # to be raised when images are decoded or squashed in another way
_MOST_WORKERS = 8
_BATCH_SIZE = 32  # of reading; an unreadable image costs at most the others of its batch
_SECONDS_BETWEEN_NOTES = 5.0  # of how far the building has come
_SLOW = 2000  # looking at more files than this takes seconds on a cold disk

Rows = np.memmap[Any, np.dtype[np.uint8]]
"""uint8 [N, 3, S, S]."""


class ImageCache:
    """The squashed images of a split in one memory-mapped file, ``<folder>/<label>-<key>.npy``.

    The images are those of a :class:`~guidance.data.prepared.PreparedDataset` bit for bit. The file is built
    when it is first needed: of several processes one builds and the others wait. A build that was stopped,
    in whatever way, goes on where it was. The key stands for the size and for all images' fingerprints, so
    that a changed image gives a new file; files of other keys are left alone and may be deleted by hand.

    The pixels stay in the file: what is in memory can be dropped by the system, is shared by all processes,
    and is not pickled.

    Args:
        dataset: The split.
        image_size: S in pixels.
        folder: Where the file lies or is to lie; made if missing.
        label: What its name starts with, such as the split's name.
        num_workers: Processes that read the images while it is built; 0 for one per core, up to 8.

    Raises:
        InputError: Naming an image that cannot be read, or ``data.cache_dir`` if the folder cannot be written
            to or its disk has too little space.
    """

    def __init__(
        self, dataset: ImageDataset, image_size: int, folder: str | Path, label: str, num_workers: int = 0
    ) -> None:
        key = _key(dataset, image_size)
        self._path = Path(folder) / f"{label}-{key[:16]}.npy"
        self._shape = (len(dataset), 3, image_size, image_size)
        self._rows = _open_rows(self._path, self._shape)
        if self._rows is None:
            _build(self._path, self._shape, dataset, num_workers)
        else:  # a build that was stopped at the very end leaves its note
            _note_of(self._path).unlink(missing_ok=True)

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, indices: Sequence[int]) -> Tensor:
        """Copy N images out of the file, in the order of ``indices``, uint8 [N, 3, S, S].

        Raises:
            IndexError: If there is no such image.
            FileNotFoundError: If the file was deleted or damaged since it was checked.
        """
        if self._rows is None:
            self._rows = _open_rows(self._path, self._shape)
        if self._rows is None:
            raise FileNotFoundError(f"{self._path} was deleted or damaged; start again to build it again")
        return torch.from_numpy(np.take(self._rows, np.asarray(indices, dtype=np.int64), axis=0))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the pixels; the copy opens the file when it first reads."""
        return {**self.__dict__, "_rows": None}


class _Squashed(Dataset[Tensor]):
    """The images of a split, a batch at a time, or the error that one of them raised.

    An error that a worker raises would reach the main process with the worker's traceback as its message.
    """

    def __init__(self, dataset: ImageDataset, image_size: int) -> None:
        self._dataset = dataset
        self._size = image_size

    def __getitems__(self, indices: Sequence[int]) -> Tensor | InputError:
        try:
            images = [read_image(self._dataset, index, self._size) for index in indices]
        except InputError as error:
            return error
        return torch.stack([squash(image, self._size) for image in images])


def _key(dataset: ImageDataset, image_size: int) -> str:
    """Return the SHA-256 of all that decides the pixels."""
    digest = hashlib.sha256(f"{_VERSION} {image_size} {len(dataset)}\0".encode())
    indices = range(len(dataset))
    with progress_over(indices, "checking images", shown=len(indices) > _SLOW) as shown:
        for index in shown:
            try:
                digest.update(dataset.fingerprint(index).encode("utf-8", "surrogateescape") + b"\0")
            except OSError as error:
                raise InputError(
                    f"cannot read the image {dataset.name(index)}: {error.strerror or error}. "
                    "Replace or remove the file."
                ) from error
    return digest.hexdigest()


def _open_rows(path: Path, shape: tuple[int, ...]) -> Rows | None:
    """Map a file, or return None if it is none, or not one of exactly this form; nothing in it is run."""
    try:
        rows: Rows = np.lib.format.open_memmap(path, mode="r")
        size = path.stat().st_size
    except Exception:  # whatever a foreign or torn header leads to
        return None
    fits = rows.shape == shape and rows.dtype == np.uint8 and rows.flags.c_contiguous
    return rows if fits and size == rows.offset + rows.nbytes else None


def _build(path: Path, shape: tuple[int, ...], dataset: ImageDataset, num_workers: int) -> None:
    """Write the file, unless another process just did; go on with one that was begun."""
    with _named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if _open_rows(path, shape) is not None:
                return
            part, note = path.with_name(path.name + ".part"), _note_of(path)
            if part.is_symlink():  # it would be followed
                part.unlink()
            start = _rows_done(note, shape) if _open_rows(part, shape) is not None else 0
            _check_space(path.parent, (shape[0] - start) * math.prod(shape[1:]))
            if start == 0:
                note.unlink(missing_ok=True)
                np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            offset = part.stat().st_size - math.prod(shape)
            with part.open("r+b") as file:
                file.seek(offset + start * math.prod(shape[1:]))
                _write_rows(file, note, start, _batches(dataset, shape[-1], start, num_workers, path.stem))
            part.replace(path)
            note.unlink(missing_ok=True)


def _batches(
    dataset: ImageDataset, image_size: int, start: int, num_workers: int, description: str
) -> Iterator[Tensor]:
    """Yield the images from number ``start`` on in batches, uint8 [n, 3, S, S]."""
    count = math.ceil((len(dataset) - start) / _BATCH_SIZE)
    wanted = num_workers or min(_cores(), _MOST_WORKERS)
    loader = DataLoader(
        _Squashed(dataset, image_size),
        batch_size=_BATCH_SIZE,
        sampler=range(start, len(dataset)),
        num_workers=min(wanted, count) if count > 1 else 0,
        collate_fn=_as_it_is,
        # Its own, so that making an iterator draws no number from the global generator.
        generator=torch.Generator().manual_seed(0),
    )
    with progress_over(loader, f"caching {description}", total=count) as shown:
        for images in shown:
            if isinstance(images, InputError):
                raise images
            yield images


def _write_rows(file: BinaryIO, note: Path, done: int, batches: Iterator[Tensor]) -> None:
    """Append rows; whatever happens, the note never counts one that is not on disk."""
    noted = time.monotonic()
    try:
        for images in batches:
            file.write(images.numpy().tobytes())
            done += len(images)
            if time.monotonic() - noted >= _SECONDS_BETWEEN_NOTES:
                _note(file, note, done)
                noted = time.monotonic()
    finally:
        _note(file, note, done)


def _note_of(path: Path) -> Path:
    """Return the file that says how far the building of a cache has come."""
    return path.with_name(path.name + ".progress")


def _note(file: BinaryIO, note: Path, done: int) -> None:
    file.flush()
    os.fsync(file.fileno())
    write_json(note, {"rows": done})


def _rows_done(note: Path, shape: tuple[int, ...]) -> int:
    """Return how many rows a begun file holds; none if that was not noted."""
    try:
        rows = json.loads(note.read_text())["rows"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0
    return rows if isinstance(rows, int) and 0 <= rows <= shape[0] else 0


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"data.cache_dir: the cache needs {needed / 1e9:.1f} GB more, but the disk of {folder} has "
            f"{free / 1e9:.1f} GB left; name a folder on another disk, or set data.cache=false"
        )


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turn what the system refuses into an error that names the option."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"data.cache_dir: cannot write to {folder}: {error.strerror or error}; name a folder that can be "
            f"written to, or set data.cache=false"
        ) from error


def _as_it_is(batch: Any) -> Any:
    """Pass on the batch that was made in one go."""
    return batch
