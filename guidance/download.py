"""Downloading a large file over a connection that may break."""

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from guidance.errors import InputError

_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before another try; one more failure in a row is too many
_TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20
_PASSING = (408, 429, 500, 502, 503, 504)  # HTTP states after which the same request may succeed
_ALGORITHMS = ("md5", "sha256")

# The usual opener would follow a redirection to ftp.
_HANDLERS: tuple[type[request.BaseHandler], ...] = (
    request.ProxyHandler,
    request.HTTPHandler,
    request.HTTPSHandler,
    request.UnknownHandler,
    request.HTTPRedirectHandler,
    request.HTTPDefaultErrorHandler,
    request.HTTPErrorProcessor,
)


class _RefusedError(Exception):
    """The server does not give what it is asked for."""


class _InterruptedError(Exception):
    """The server cannot be reached, now, or stopped before the end.

    Args:
        reason: Why.
        answered: Whether it did answer.
    """

    def __init__(self, reason: str, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


def download(url: str, path: Path, checksum: str, size: int | None = None) -> None:
    """Download a file, unless it is there with the right checksum.

    What arrives lies in ``path.part`` until it is whole and its checksum is right. From there the download
    goes on after a lost connection, and so does the next call after a killed process. A lost connection is
    tried again until five tries in a row brought nothing; a server that cannot be reached at all is not. A
    path must have one writer at a time.

    Args:
        url: ``http`` or ``https``; a redirection to anything else is refused.
        path: Where the file goes; its folder is made if needed.
        checksum: ``md5:`` or ``sha256:`` and the digest in lower case, or its first 8 digits or more.
        size: In bytes, if known; a file of another size is refused before it is fetched.

    Raises:
        InputError: Naming the address, if the server cannot be reached, does not have the file or sends
            another one, or if the file cannot be written.
        ValueError: If ``checksum`` is none.
    """
    algorithm, digest = _parse(checksum)
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"cannot download {url}: the address must start with http:// or https://")
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    part = path.with_name(path.name + ".part")
    note = ""
    try:
        with Progress(*columns, TimeRemainingColumn(), transient=True) as progress:
            if path.is_file():
                if _digest(path, algorithm, progress).startswith(digest):
                    return
                note = f"; the {path.name} that is there is corrupted, too"
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(url, part, size, progress)
            if _digest(part, algorithm, progress).startswith(digest):
                part.replace(path)
                return
        part.unlink()
        reason = f"what arrived is corrupted (its {algorithm.upper()} is not {digest}) and was removed"
    except (_RefusedError, _InterruptedError) as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    raise InputError(f"cannot download {url} to {path.parent}: {reason}{note}")


def has_checksum(path: Path, checksum: str) -> bool:
    """Say whether a file is there and its content has this checksum.

    Args:
        path: The file.
        checksum: As for :func:`download`.

    Raises:
        OSError: If the file is there and cannot be read.
        ValueError: If ``checksum`` is none.
    """
    algorithm, digest = _parse(checksum)
    if not path.is_file():
        return False
    with Progress(transient=True) as progress:
        return _digest(path, algorithm, progress).startswith(digest)


def _parse(checksum: str) -> tuple[str, str]:
    """Return the algorithm and the digits of a checksum."""
    algorithm, _, digest = checksum.partition(":")
    if algorithm not in _ALGORITHMS or not re.fullmatch("[0-9a-f]{8,}", digest):
        raise ValueError(f"a checksum is md5: or sha256: and at least 8 hexadecimal digits; got {checksum!r}")
    return algorithm, digest


def _fetch(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Add to ``part`` until the server has no more.

    Raises:
        _RefusedError: If the server does not give the file.
        _InterruptedError: If it cannot be reached (any more).
    """
    if part.is_symlink():  # it would be followed
        part.unlink()
    task = progress.add_task(escape(part.stem), total=size)
    reached, failures, answered = _length(part), 0, False
    while True:
        try:
            for done, total in _receive(url, part, size):
                progress.update(task, completed=done, total=total)
            return
        except _InterruptedError as error:
            failures = 0 if _length(part) > reached else failures + 1
            reached = max(reached, _length(part))
            answered = answered or error.answered
            # An address that never answered is more likely wrong than busy.
            if not answered or failures > len(_PAUSES):
                raise
        time.sleep(_PAUSES[max(failures - 1, 0)])


def _receive(url: str, part: Path, size: int | None) -> Iterator[tuple[int, int | None]]:
    """Ask for what is missing of ``part`` and write it; give the bytes that are there and their total."""
    done = _length(part)
    response = _open(url, done)
    if response is None:
        return
    with response:
        if response.status != 206:  # the server sends all of it, wanted or not
            done = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.unlink(missing_ok=True)
            raise _InterruptedError("the server sends another part than asked for", answered=True)
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else size
        if size is not None and total != size:
            raise _RefusedError(f"the file there has {total:,} bytes; it must have {size:,}")
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - done > free:
            raise _RefusedError(f"{total - done:,} bytes are to come, but the disk has room for {free:,}")
        with part.open("ab" if done else "wb") as file:
            while chunk := _read(response):
                done += len(chunk)
                if total is not None and done > total:
                    raise _RefusedError(f"the server sends more than the file's {total:,} bytes")
                file.write(chunk)
                yield done, total
    if total is not None and done < total:
        raise _InterruptedError("the connection was lost", answered=True)


def _open(url: str, start: int) -> HTTPResponse | None:
    """Ask for a file from byte ``start`` on; None if there are no bytes after it."""
    opener = request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    asked = request.Request(url, headers={"User-Agent": "model-guidance"})  # noqa: S310 - http(s) was checked
    if start:
        asked.add_header("Range", f"bytes={start}-")
    try:
        response: HTTPResponse = opener.open(asked, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        reason = f"the server answers {error.code} {error.reason}"
        if error.code in _PASSING:
            raise _InterruptedError(reason, answered=True) from error
        raise _RefusedError(reason) from error
    except (OSError, HTTPException) as error:
        raise _InterruptedError(str(getattr(error, "reason", error)), answered=False) from error
    return response


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, HTTPException) as error:
        raise _InterruptedError(f"the connection was lost ({error})", answered=True) from error


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, algorithm: str, progress: Progress) -> str:
    """Return the checksum of a file's content, in hexadecimal digits."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    task = progress.add_task(f"checking {escape(path.name)}", total=path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
            progress.update(task, advance=len(chunk))
    return found.hexdigest()
