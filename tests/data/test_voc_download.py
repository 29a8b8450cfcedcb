import hashlib
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torchvision.datasets.voc import DATASET_YEAR_DICT

import guidance.download as download_module
from guidance.data import VOC
from guidance.errors import InputError
from tests.data.voc_tree import object_xml, write_voc
from tests.file_server import FileServer, serving


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as started:
        yield started


@pytest.fixture
def source(tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Serve one archive as ``2007``; what is returned is its entry in torchvision's table."""
    write_voc(tmp_path / "remote", {"000001": [object_xml()]}, {"train": ["000001"]})
    with tarfile.open(tmp_path / "remote" / "voc.tar", "w") as archive:
        archive.add(tmp_path / "remote" / "VOCdevkit", "VOCdevkit")
    content = (tmp_path / "remote" / "voc.tar").read_bytes()
    server.files["voc.tar"] = content
    entry = {
        "url": server.url("voc.tar"),
        "filename": "official.tar",
        "md5": hashlib.md5(content).hexdigest(),  # noqa: S324
    }
    monkeypatch.setattr(download_module, "_PAUSES", (0.0,) * 4)
    monkeypatch.setitem(DATASET_YEAR_DICT, "2007", entry)
    return entry


def test_the_table_has_what_is_needed() -> None:
    for archive in ("2007", "2007-test", "2012"):
        entry = DATASET_YEAR_DICT[archive]
        assert entry["url"].startswith("http")
        assert entry["filename"].endswith(".tar")
        assert len(entry["md5"]) == 32


@pytest.mark.parametrize("inside", ["", "VOCdevkit"])
def test_a_missing_split_is_downloaded_once(
    tmp_path: Path, server: FileServer, source: dict[str, str], inside: str
) -> None:
    root = tmp_path / "new" / "data"
    for _ in range(2):
        assert len(VOC(root / inside, 2007, "train", download=True)) == 1
        assert (root / "VOCdevkit/VOC2007/JPEGImages/000001.jpg").is_file()
        assert len(server.asked) == 1
        (root / "official.tar").unlink(missing_ok=True)


def test_of_several_processes_one_downloads(
    tmp_path: Path, server: FileServer, source: dict[str, str]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: VOC(tmp_path / "data", 2007, "train", download=True), range(4)))
    assert [len(dataset) for dataset in made] == [1] * 4
    assert len(server.asked) == 1


def test_a_lost_connection_is_taken_up(tmp_path: Path, server: FileServer, source: dict[str, str]) -> None:
    server.drops = [5000]
    assert len(VOC(tmp_path / "data", 2007, "train", download=True)) == 1
    assert server.asked == ["", "bytes=5000-"]


def test_an_interrupted_unpacking_is_repaired(
    tmp_path: Path, server: FileServer, source: dict[str, str]
) -> None:
    root = tmp_path / "data"
    VOC(root, 2007, "train", download=True)
    (root / "VOCdevkit/VOC2007/JPEGImages/000001.jpg").unlink()
    with pytest.raises(InputError, match=r"data\.download=true"):
        VOC(root, 2007, "train")
    assert len(VOC(root, 2007, "train", download=True)) == 1
    assert len(server.asked) == 1


def test_an_archive_that_was_fetched_by_hand_is_unpacked(
    tmp_path: Path, server: FileServer, source: dict[str, str]
) -> None:
    (tmp_path / "official.tar").write_bytes(server.files["voc.tar"])
    assert len(VOC(tmp_path, 2007, "train", download=True)) == 1
    assert server.asked == []


def test_a_wrong_checksum_is_an_error_and_nothing_is_unpacked(tmp_path: Path, source: dict[str, str]) -> None:
    source["md5"] = "0" * 32
    with pytest.raises(InputError, match=r"cannot download http.*voc\.tar.*corrupted.*MD5 0000"):
        VOC(tmp_path / "data", 2007, "train", download=True)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".voc-download.lock"]


def test_no_network_is_an_error_that_says_what_to_do(tmp_path: Path, source: dict[str, str]) -> None:
    source["url"] = "http://127.0.0.1:9/voc.tar"
    with pytest.raises(InputError) as error:
        VOC(tmp_path / "data", 2007, "train", download=True)
    for part in (
        source["url"],
        str(tmp_path / "data"),
        f"by hand (MD5 {source['md5']})",
        "data.download=true",
    ):
        assert part in str(error.value)


def test_an_archive_without_the_split_is_an_error(tmp_path: Path, source: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"val\.txt is missing; available there: train\.txt"):
        VOC(tmp_path / "data", 2007, "val", download=True)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, source: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file/data"):
        VOC(tmp_path / "file" / "data", 2007, "train", download=True)
