import hashlib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import guidance.download as download_module
from guidance.data import coco_download
from guidance.data.coco import COCO
from guidance.data.remote_archive import RemoteArchive
from guidance.errors import InputError
from tests.data.coco_tree import coco_image, coco_object, write_coco
from tests.file_server import FileServer, serving


def packed(tmp_path: Path, folder: str) -> bytes:
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((tmp_path / "remote" / folder).iterdir()):
            archive.write(file, f"{folder}/{file.name}")
    return path.read_bytes()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serve a COCO 2014 of ten and two images in place of the official one."""
    images = [coco_image(number) for number in range(1, 11)]
    write_coco(tmp_path / "remote", "train2014", images, [coco_object(1, 1)])
    write_coco(tmp_path / "remote", "val2014", [coco_image(1), coco_image(2)])
    monkeypatch.setattr(download_module, "_PAUSES", (0.0,) * 4)
    with serving() as started:
        for key, folder in (("annotations2014", "annotations"), ("train2014",) * 2, ("val2014",) * 2):
            name = coco_download.ARCHIVES[key].url.rpartition("/")[2]
            started.files[name] = content = packed(tmp_path, folder)
            digest = hashlib.md5(content).hexdigest()  # noqa: S324
            archive = RemoteArchive(started.url(name), f"md5:{digest}", len(content))
            monkeypatch.setitem(coco_download.ARCHIVES, key, archive)
        yield started


def test_the_official_archives_are_all_there() -> None:
    assert set(coco_download.ARCHIVES) == {
        f"{part}{year}" for part in ("annotations", "train", "val") for year in (2014, 2017)
    }
    assert len({archive.checksum for archive in coco_download.ARCHIVES.values()}) == 6
    for key, archive in coco_download.ARCHIVES.items():
        name = archive.url.rpartition("/")[2]
        assert name == (f"annotations_trainval{key[-4:]}.zip" if "annotations" in key else f"{key}.zip")
        assert archive.checksum.startswith("md5:")
        assert len(archive.checksum) == 36


def test_what_is_missing_is_downloaded_into_a_folder_coco(tmp_path: Path, server: FileServer) -> None:
    root = tmp_path / "new" / "data"
    train = COCO(root, 2014, "train", download=True)
    assert len(train) == 9
    assert Path(train.name(0)).is_relative_to(root / "coco" / "train2014")
    assert len(server.asked) == 2
    assert len(COCO(root, 2014, "val", download=True)) == 1
    assert len(server.asked) == 2
    assert len(COCO(root, 2014, "test", download=True)) == 2
    assert len(server.asked) == 3
    assert len(COCO(root, 2014, "test")) == 2


def test_a_root_called_coco_is_the_folder(tmp_path: Path, server: FileServer) -> None:
    test = COCO(tmp_path / "coco", 2014, "test", download=True)
    assert Path(test.name(0)).parent == tmp_path / "coco" / "val2014"


def test_only_what_is_missing_is_downloaded_and_goes_where_the_rest_is(
    tmp_path: Path, server: FileServer
) -> None:
    write_coco(tmp_path, "val2014", [coco_image(1), coco_image(2)], folder="images/val2014")
    (tmp_path / "images/val2014/000000000002.jpg").unlink()
    test = COCO(tmp_path, 2014, "test", download=True)
    assert Path(test.name(1)) == tmp_path / "images/val2014/000000000002.jpg"
    assert test.image(1).shape == (3, 10, 20)
    assert len(server.asked) == 1


def test_of_several_processes_one_downloads(tmp_path: Path, server: FileServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: COCO(tmp_path, 2014, "test", download=True), range(4)))
    assert [len(dataset) for dataset in made] == [2] * 4
    assert len(server.asked) == 2


def test_an_archive_that_lacks_an_image_is_unpacked_once(tmp_path: Path, server: FileServer) -> None:
    write_coco(tmp_path, "val2014", [coco_image(number) for number in range(1, 4)])
    (tmp_path / "val2014" / "000000000003.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of the 3 images .*000000000003\.jpg"):
        COCO(tmp_path, 2014, "test", download=True)
    assert len(server.asked) == 1


def test_an_archive_that_was_fetched_by_hand_is_unpacked(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "coco").mkdir()
    for name in ("annotations_trainval2014.zip", "val2014.zip"):
        (tmp_path / "coco" / name).write_bytes(server.files[name])
    assert len(COCO(tmp_path, 2014, "test", download=True)) == 2
    assert server.asked == []


def test_no_network_is_an_error_that_says_what_to_do(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = RemoteArchive("http://127.0.0.1:9/val2014.zip", "md5:" + "0" * 32)
    monkeypatch.setitem(coco_download.ARCHIVES, "val2014", gone)
    with pytest.raises(InputError) as error:
        COCO(tmp_path, 2014, "test", download=True)
    for part in (gone.url, str(tmp_path / "coco"), f"by hand (MD5 {'0' * 32})", "data.download=true"):
        assert part in str(error.value)
    assert (tmp_path / "coco" / "annotations" / "instances_val2014.json").is_file()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file/coco"):
        COCO(tmp_path / "file", 2014, "test", download=True)
