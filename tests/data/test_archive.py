import io
import random
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidance.data import archive as module
from guidance.data.archive import extract
from guidance.errors import InputError

FILES = {"a.txt": b"hello", "b/c/d.bin": random.Random(0).randbytes(5000), "b/empty": b""}
MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz"}
SUFFIXES = [*MODES, ".zip"]


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive, whose kind its name tells; names that end in / are folders."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return path
    with tarfile.open(path, MODES["".join(path.suffixes)]) as rolled:  # type: ignore[call-overload]
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            if name.endswith("/"):
                item.type = tarfile.DIRTYPE
            rolled.addfile(item, io.BytesIO(content))
    return path


def write_tar_member(path: Path, name: str, kind: bytes, target: str = "") -> Path:
    with tarfile.open(path, "w") as rolled:
        item = tarfile.TarInfo(name)
        item.type, item.linkname = kind, target
        rolled.addfile(item)
    return path


def write_zip_member(path: Path, name: str, mode: int, content: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        item = zipfile.ZipInfo(name)
        item.create_system, item.external_attr = 3, mode << 16
        packed.writestr(item, content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(archive: Path, match: str) -> None:
    """Check that it is refused, whole, and that nothing appears anywhere."""
    base = archive.parent
    before = tree(base)
    with pytest.raises(InputError, match=match) as error:
        extract(archive, base / "out")
    assert str(error.value).startswith(f"cannot unpack {archive}: ")
    assert tree(base) == before


# What is unpacked


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_and_folders_are_unpacked(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path / f"x{suffix}", {"b/": b"", "none/": b"", **FILES})
    extract(archive, tmp_path / "new" / "out")
    assert tree(tmp_path / "new" / "out") == FILES
    assert (tmp_path / "new" / "out" / "none").is_dir()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unpacking_again_repairs_and_removes_nothing(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path / f"x{suffix}", FILES)
    extract(archive, tmp_path / "out")
    (tmp_path / "out" / "a.txt").write_bytes(b"damaged")
    (tmp_path / "out" / "b/empty").unlink()
    (tmp_path / "out" / "mine").write_bytes(b"kept")
    extract(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES | {"mine": b"kept"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_archive_is_fine(tmp_path: Path, suffix: str) -> None:
    extract(write(tmp_path / f"x{suffix}", {}), tmp_path / "out")
    assert tree(tmp_path / "out") == {}


def test_names_with_dots_stay_in_the_folder(tmp_path: Path) -> None:
    extract(write(tmp_path / "x.tar", {"./": b"", "./a/./b..c": b"1", "..d": b"2"}), tmp_path / "out")
    assert tree(tmp_path / "out") == {"a/b..c": b"1", "..d": b"2"}


def test_permissions_of_the_archive_do_not_count(tmp_path: Path) -> None:
    extract(write_zip_member(tmp_path / "x.zip", "run", stat.S_IFREG | 0o6777), tmp_path / "out")
    assert (tmp_path / "out" / "run").stat().st_mode & 0o7111 == 0


def test_a_folder_that_the_user_has_linked_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").symlink_to(tmp_path / "disk")
    extract(write(tmp_path / "x.tar", FILES), tmp_path / "out")
    assert (tmp_path / "disk" / "c" / "d.bin").read_bytes() == FILES["b/c/d.bin"]


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "precious")
    extract(write(tmp_path / "x.zip", FILES), tmp_path / "out")
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "out" / "a.txt").read_bytes() == b"hello"


# Attacks


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "a/../../evil", "a/..", "..\\evil", "\\evil", "a/../b"],  # noqa: S108
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    archive = write(tmp_path / f"x{suffix}", {"fine": b"1", name: b"2"})
    refused(archive, "the name of .* leads out of the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "inside"])
def test_a_link_in_a_tar_is_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    refused(write_tar_member(tmp_path / "x.tar", "link", kind, target), "'link' is a link")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_in_a_tar_is_refused(tmp_path: Path, kind: bytes) -> None:
    refused(write_tar_member(tmp_path / "x.tar", "null", kind), "'null' is a device")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    refused(write_zip_member(tmp_path / "x.zip", "link", stat.S_IFLNK | 0o777, "/etc"), "'link' is a link")
    refused(write_zip_member(tmp_path / "y.zip", "link/", stat.S_IFLNK | 0o777, "/etc"), "'link/' is a link")


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_device_in_a_zip_is_refused(tmp_path: Path, kind: int) -> None:
    refused(write_zip_member(tmp_path / "x.zip", "null", kind | 0o666), "'null' is a device")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = write(tmp_path / "x.zip", {"a": b"1"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, "'a' is encrypted")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_bomb_is_refused(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path / f"x{suffix}", {"fine": b"1", "zeros": bytes(110_000_000)})
    assert archive.stat().st_size < 200_000
    refused(archive, "more than 200 times as large as the archive")


def test_a_bomb_of_empty_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALWAYS_FINE", 10**6)
    archive = write(tmp_path / "x.tar.gz", {f"{number}": b"" for number in range(1000)})
    assert archive.stat().st_size < 20_000
    refused(archive, "more than 200 times as large as the archive")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_does_not_fit_on_the_disk_is_not_begun(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write(tmp_path / f"x{suffix}", FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5004))
    refused(archive, "does not fit on the disk, which has room for 5,004 bytes")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5005))
    extract(archive, tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    extract(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES


# Broken archives


@pytest.mark.parametrize("name", ["x.rar", "zip", "x.gz", "x.tar.xz"])
def test_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"Rar!")
    refused(tmp_path / name, r"its name must end in \.zip, \.tar, \.tar\.gz, \.tgz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_archive_or_one_that_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    refused(path, "No such file")
    path.write_bytes(b"hello" * 1000)
    refused(path, "not a zip|could not be opened|read")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_in_the_way_names_the_member(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path / f"x{suffix}", FILES)
    (tmp_path / "out" / "a.txt" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match=rf"cannot unpack .*x{suffix}: 'a\.txt': "):
        extract(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "a.txt"]


def test_a_damaged_member_leaves_no_torn_file(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("good", "1")
        packed.writestr("bad", "2" * 100)
    archive.write_bytes(archive.read_bytes().replace(b"2222", b"2322", 1))
    with pytest.raises(InputError, match=r"'bad': Bad CRC"):
        extract(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"good": b"1"}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES))
def test_a_damaged_archive_is_unpacked_or_one_error(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    archive = write(tmp_path / f"x{suffix}", FILES)
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    out = tmp_path / "parent" / "out"
    shutil.rmtree(out, ignore_errors=True)
    message = ""
    try:
        extract(archive, out)
    except InputError as error:
        message = str(error)
    assert message == "" or message.startswith(f"cannot unpack {archive}: ")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert not list(out.rglob("*.tmp"))
