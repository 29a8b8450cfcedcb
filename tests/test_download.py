import hashlib
import random
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import guidance.download as module
from guidance.download import download, has_checksum
from guidance.errors import InputError
from tests.file_server import FileServer, serving

CONTENT = random.Random(0).randbytes(300_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()  # noqa: S324
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(module, "_PAUSES", (0.0,) * 4)
    with serving() as started:
        started.files["a.bin"] = CONTENT
        yield started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "a.bin"


def part(path: Path) -> Path:
    return path.with_name("a.bin.part")


@pytest.mark.parametrize("checksum", [MD5, SHA256, SHA256[:15]])
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_file_is_downloaded_once(server: FileServer, path: Path, checksum: str, size: int | None) -> None:
    for _ in range(2):
        download(server.url("a.bin"), path, checksum, size)
        assert path.read_bytes() == CONTENT
        assert server.asked == [""]
    assert [file.name for file in path.parent.iterdir()] == ["a.bin"]


def test_an_empty_file_is_downloaded(server: FileServer, path: Path) -> None:
    server.files["empty"] = b""
    download(server.url("empty"), path, "md5:d41d8cd98f00b204e9800998ecf8427e", 0)
    assert path.read_bytes() == b""


def test_a_file_of_unknown_length_is_downloaded(server: FileServer, path: Path) -> None:
    server.chunked = True
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT


def test_a_corrupted_file_is_downloaded_again(server: FileServer, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1] + b"?")
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT


# Breaks


def test_lost_connections_are_taken_up_where_they_broke(server: FileServer, path: Path) -> None:
    server.drops = [100_000, 50_000, 0, 0, 0, 30_000]
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT
    asked = ["", "bytes=100000-", *["bytes=150000-"] * 4, "bytes=180000-"]
    assert server.asked == asked
    assert not part(path).exists()


def test_what_a_killed_process_left_is_taken_up(server: FileServer, path: Path) -> None:
    path.parent.mkdir()
    part(path).write_bytes(CONTENT[:123_456])
    download(server.url("a.bin"), path, MD5, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=123456-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_process_killed_just_before_the_end_left_all_of_it(
    server: FileServer, path: Path, ranges: bool
) -> None:
    server.ranges = ranges
    path.parent.mkdir()
    part(path).write_bytes(CONTENT)
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server: FileServer, path: Path) -> None:
    server.ranges = False
    server.drops = [100_000]
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=100000-"]


def test_a_server_that_sends_another_range_is_asked_for_everything(server: FileServer, path: Path) -> None:
    server.shift = -7
    server.drops = [100_000]
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=100000-", ""]


def test_a_busy_server_is_asked_again(server: FileServer, path: Path) -> None:
    server.states = [503, 429, None]
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT


def test_after_five_tries_in_vain_it_gives_up_and_keeps_what_arrived(server: FileServer, path: Path) -> None:
    server.drops = [1000] + [0] * 20
    with pytest.raises(InputError, match=r"cannot download http.*a\.bin to .*new: the connection was lost"):
        download(server.url("a.bin"), path, MD5)
    assert part(path).read_bytes() == CONTENT[:1000]
    assert server.asked == ["", *["bytes=1000-"] * 5]
    server.drops = []
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_that_drops_every_time_is_given_up(server: FileServer, path: Path) -> None:
    server.ranges = False
    server.drops = [1000, 900, 950, 1000, 10, 999, 1000, 1000]
    with pytest.raises(InputError, match="the connection was lost"):
        download(server.url("a.bin"), path, MD5)
    assert len(server.asked) == 6


def test_a_silent_server_is_given_up(server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.bin"
        with pytest.raises(InputError, match="timed out"):
            download(url, path, MD5)


# What is refused


def test_another_file_is_removed(server: FileServer, path: Path) -> None:
    with pytest.raises(InputError, match=r"what arrived is corrupted .its MD5 is not 0000.* was removed"):
        download(server.url("a.bin"), path, "md5:" + "0" * 32)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)])
def test_the_part_of_another_file_is_removed(server: FileServer, path: Path, left: bytes) -> None:
    path.parent.mkdir()
    part(path).write_bytes(left)
    with pytest.raises(InputError, match=r"cannot download .*corrupted.*was removed"):
        download(server.url("a.bin"), path, MD5)
    assert not part(path).exists()
    download(server.url("a.bin"), path, MD5)
    assert path.read_bytes() == CONTENT


def test_a_corrupted_file_stays_if_there_is_no_other(server: FileServer, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"404 Not Found; the a\.bin that is there is corrupted, too"):
        download(server.url("b.bin"), path, MD5)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
@pytest.mark.parametrize("start", [0, 1000])
def test_a_file_of_another_size_is_not_fetched(server: FileServer, path: Path, size: int, start: int) -> None:
    path.parent.mkdir()
    part(path).write_bytes(CONTENT[:start])
    with pytest.raises(InputError, match=rf"has 300,000 bytes; it must have {size:,}"):
        download(server.url("a.bin"), path, MD5, size)
    assert part(path).stat().st_size == start


def test_a_server_that_goes_on_sending_is_stopped(server: FileServer, path: Path) -> None:
    server.chunked = True
    with pytest.raises(InputError, match="sends more than the file's 1,000 bytes"):
        download(server.url("a.bin"), path, MD5, 1000)
    assert part(path).stat().st_size <= 1000


def test_a_file_that_does_not_fit_is_not_fetched(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="300,000 bytes are to come, but the disk has room for 1,000"):
        download(server.url("a.bin"), path, MD5)


@pytest.mark.parametrize(("state", "text"), [(403, "403 Forbidden"), (416, "416 Requested Range")])
def test_a_refusal_is_not_repeated(server: FileServer, path: Path, state: int, text: str) -> None:
    server.states = [state]
    with pytest.raises(InputError, match=f"the server answers {text}"):
        download(server.url("a.bin"), path, MD5)
    assert len(server.asked) == 1


def test_an_address_where_nobody_answers_is_tried_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(InputError, match=r"cannot download http://127.0.0.1:9/a to .*refused"):
        download("http://127.0.0.1:9/a", path, MD5)
    assert pauses == []


@pytest.mark.parametrize("url", ["ftp://host/a", "file:///etc/passwd", "a.bin", "/etc/passwd", ""])
def test_only_http_is_asked(path: Path, url: str) -> None:
    with pytest.raises(InputError, match="must start with http:// or https://"):
        download(url, path, MD5)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1:9/a", "file:///etc/passwd", "data:,abc"])
def test_a_redirection_to_anything_else_is_refused(server: FileServer, path: Path, location: str) -> None:
    server.location = location
    with pytest.raises(InputError, match="cannot download"):
        download(server.url("a.bin"), path, MD5)
    assert not part(path).exists()


def test_a_redirection_is_followed_and_its_range_kept(server: FileServer, path: Path) -> None:
    path.parent.mkdir()
    part(path).write_bytes(CONTENT[:1000])
    with serving() as other:
        other.location = server.url("a.bin")
        download(other.url("b.bin"), path, MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_folder_in_the_way_is_an_error(server: FileServer, path: Path) -> None:
    (path / "x").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot download .*directory"):
        download(server.url("a.bin"), path, MD5)
    path.with_name("file").write_text("")
    with pytest.raises(InputError, match="cannot download"):
        download(server.url("a.bin"), path.with_name("file") / "a.bin", MD5)


@pytest.mark.parametrize("checksum", ["", "md5:", "md5:xyz", "sha1:00", "0" * 32, "sha256:1234567"])
def test_an_unknown_checksum_is_refused(path: Path, checksum: str) -> None:
    with pytest.raises(ValueError, match="a checksum is md5: or sha256:"):
        download("http://127.0.0.1:9/a", path, checksum)


def test_a_checksum_is_that_of_the_content(path: Path) -> None:
    assert not has_checksum(path, SHA256)
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert has_checksum(path, SHA256)
    assert has_checksum(path, SHA256[: len("sha256:") + 8])
    assert not has_checksum(path, MD5.replace("md5", "sha256"))
    path.write_bytes(CONTENT[1:])
    assert not has_checksum(path, SHA256)
