"""Unpacking an archive that somebody else made."""

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePath
from typing import IO, BinaryIO, NamedTuple

from rich.markup import escape
from rich.progress import Progress

from guidance.data.relative_path import leaves_folder
from guidance.errors import InputError

_MOST_EXPANSION = 200  # times; images do not shrink when they are packed, and texts shrink to a tenth
_ALWAYS_FINE = 10**8  # bytes, however small the archive is
_BLOCK = 4096  # bytes that even an empty file takes
_CHUNK = 1 << 20
_MOST_AT_ONCE = 1 << 24  # bytes
_TAR = (".tar", ".tar.gz", ".tgz")
_FAILURES = (
    *(OSError, EOFError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError),
)


class _Member(NamedTuple):
    name: str
    kind: str  # "file", "folder", or what it is instead
    size: int
    open: Callable[[], IO[bytes] | None]


def extract(path: Path, folder: Path) -> None:
    """Unpack an archive; nothing is written before every member was looked at.

    Only plain files and folders within ``folder`` are made, with the usual permissions. Each file appears,
    or replaces the one that is there, when it is whole; so what a killed process leaves lacks files, but has
    no torn ones.

    Args:
        path: A ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz``.
        folder: Where it goes; made if needed.

    Raises:
        InputError: Naming the archive, and the member if it is about one: if the archive is broken, a name
            leads out of the folder, a member is a link, a device or encrypted, or if all together do not fit
            on the disk or are more than 200 times as large as the archive.
    """
    name = escape(path.name)
    place = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not rich's track(), which does not end where the loop is left by an error.
        with Progress(transient=True) as progress, path.open("rb") as file, _opened(path, file) as members:
            task = progress.add_task(f"checking {name}", total=None)
            count = _check(members(), path, folder)
            progress.update(task, description=f"unpacking {name}", total=count)
            for member in members():
                progress.advance(task)
                place = f": {member.name!r}"
                _write(member, folder)
    except _FAILURES as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot unpack {path}{place}: {reason}") from error


@contextmanager
def _opened(path: Path, file: BinaryIO) -> Iterator[Callable[[], Iterator[_Member]]]:
    """Open an archive; what is given lists its members, as often as it is called."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(file) as packed:
            yield partial(_zip_members, packed)
    elif path.name.lower().endswith(_TAR):
        packed_stream = gzip.GzipFile(fileobj=file) if _is_gzip(file) else file
        try:
            rolled = tarfile.TarFile(fileobj=_Bounded(packed_stream))  # type: ignore[arg-type]
        except tarfile.ReadError as error:
            raise ValueError(f"it could not be opened as a tar: {error}") from error
        with rolled:
            yield partial(_tar_members, rolled)
    else:
        raise ValueError(f"its name must end in .zip, {', '.join(_TAR)}")


class _Bounded:
    """A stream that gives no more at once than any honest header has.

    A tar's extended headers are read whole, whatever size they claim, before anybody can look at them.
    """

    def __init__(self, stream: BinaryIO | gzip.GzipFile) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_AT_ONCE:
            raise ValueError("a header in it is too large")
        return self._stream.read(size)


def _is_gzip(file: BinaryIO) -> bool:
    start = file.read(2)
    file.seek(0)
    return start == b"\x1f\x8b"


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for item in archive.infolist():
        mode = item.external_attr >> 16  # where the archive was made on a system that has it
        if stat.S_ISLNK(mode):
            kind = "a link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a device"
        elif item.flag_bits & 1:
            kind = "encrypted"
        else:
            # Not is_dir(), which fails where the name is empty.
            kind = "folder" if item.filename.endswith("/") else "file"
        yield _Member(item.filename, kind, item.file_size, partial(archive.open, item))


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for item in archive:
        if item.issym() or item.islnk():
            kind = "a link"
        elif item.isdir():
            kind = "folder"
        else:
            kind = "file" if item.isreg() else "a device"
        yield _Member(item.name, kind, item.size, partial(archive.extractfile, item))


def _check(members: Iterable[_Member], path: Path, folder: Path) -> int:
    """Return the number of members, all of which are harmless.

    The rules are stricter than those of tarfile's filter "data", which lets links within the folder pass and
    knows no zip.

    Raises:
        ValueError: If one is not.
    """
    limit = max(_MOST_EXPANSION * path.stat().st_size, _ALWAYS_FINE)
    room = shutil.disk_usage(folder).free
    count = total = needed = 0
    for member in members:
        count += 1
        if leaves_folder(member.name):
            raise ValueError(f"the name of {member.name!r} leads out of the folder")
        if member.kind not in ("file", "folder"):
            raise ValueError(f"{member.name!r} is {member.kind}; only plain files and folders are unpacked")
        if member.kind == "file" and not PurePath(member.name).name:
            raise ValueError(f"{member.name!r} is a file without a name")
        target = folder / member.name
        total += max(member.size, _BLOCK)
        needed += member.size - (target.stat().st_size if target.is_file() else 0)
        if total > limit:
            raise ValueError(
                f"what is in it is more than {_MOST_EXPANSION} times as large as the archive, as if it was "
                "made to fill a disk; if you know better, unpack it by hand"
            )
        if needed > room:
            raise ValueError(f"what is in it does not fit on the disk, which has room for {room:,} bytes")
    return count


def _write(member: _Member, folder: Path) -> None:
    target = folder / member.name
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    temporary.unlink(missing_ok=True)  # a link would be followed
    source = member.open()
    assert source is not None  # noqa: S101 - a plain file can be opened
    try:
        with source, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
