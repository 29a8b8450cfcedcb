import os
from pathlib import Path

import pytest

from guidance.data.folder.files import FileTree
from guidance.errors import InputError


def write(root: Path, *files: str) -> FileTree:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return FileTree(root)


# Walking


def test_images_are_told_by_their_suffix_in_any_case(tmp_path: Path) -> None:
    images = ["a.JPG", "b.jpeg", "c d/é.PNG", "d.bmp", "e.gif", "f.webp", "g.tif", "h.TIFF"]
    tree = write(tmp_path, *images, "a.xml", "jpg", "x.jpg.txt")
    assert tree.images == sorted(images)
    assert tree.others == ["a.xml", "jpg", "x.jpg.txt"]


def test_hidden_files_and_what_macos_adds_are_ignored(tmp_path: Path) -> None:
    tree = write(tmp_path, "a.jpg", "._a.jpg", ".cache/b.jpg", "__MACOSX/c.jpg", "x/__MACOSX/d.jpg")
    assert tree.images == ["a.jpg"]
    assert tree.others == []


def test_a_root_that_is_hidden_itself_is_read(tmp_path: Path) -> None:
    assert write(tmp_path / ".data", "a.jpg").images == ["a.jpg"]


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "root" / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert FileTree(tmp_path / "root").images == ["c.jpg", "linked/a.jpg", "linked/b.jpg"]


def test_loops_of_links_end_and_a_folder_goes_by_its_own_path(tmp_path: Path) -> None:
    write(tmp_path, "z/a.jpg", "b.jpg")
    (tmp_path / "z" / "up").symlink_to(tmp_path)
    (tmp_path / "z" / "self").symlink_to(tmp_path / "z")
    (tmp_path / "a link").symlink_to(tmp_path / "z")
    assert FileTree(tmp_path).images == ["b.jpg", "z/a.jpg"]


def test_a_folder_that_vanishes_or_is_closed_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    tree = FileTree(tmp_path)
    assert tree.images == ["a.jpg"]
    assert [(item.reason, item.where) for item in tree.skipped] == [
        ("its folder cannot be read", str(tmp_path / "closed"))
    ]


def test_a_name_that_is_no_utf8_is_skipped_with_a_name_that_can_be_printed(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    tree = write(tmp_path, "a.jpg")
    assert tree.images == ["a.jpg"]
    assert [item.where for item in tree.skipped] == [f"{tmp_path}/\\udcff.jpg"]


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_root_that_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=rf"cannot read the folder {tmp_path / name} .*data\.root"):
        FileTree(tmp_path / name)


# Finding an image by name


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.jpg", "images/a.jpg"),
        ("./images/a.jpg", "images/a.jpg"),
        ("images//sub/../a.jpg", "images/a.jpg"),
        ("sub\\b.jpg", "images/sub/b.jpg"),
        ("top.jpg", "top.jpg"),
    ],
)
def test_a_name_is_looked_up_in_each_folder(tmp_path: Path, name: str, image: str) -> None:
    tree = write(tmp_path, "images/a.jpg", "images/sub/b.jpg", "top.jpg")
    assert tree.find_image(name, ("", "images")) == (image, "")


def test_the_first_folder_that_has_the_name_counts(tmp_path: Path) -> None:
    tree = write(tmp_path, "a.jpg", "images/a.jpg")
    assert tree.find_image("a.jpg", ("images", "")) == ("images/a.jpg", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("b.jpg", "its file is missing"),
        ("", "its file is missing"),
        ("a", "its file is missing"),
        ("a.jpg\0", "its file is missing"),
        ("../a.jpg", "its file is missing"),  # inside, seen from images/
        ("../../outside.jpg", "its path leads out of data.root"),
        ("..\\..\\outside.jpg", "its path leads out of data.root"),
        ("/etc/a.jpg", "its path is absolute; it must be relative to data.root"),
        ("C:\\a.jpg", "its path is absolute; it must be relative to data.root"),
    ],
)
def test_a_name_that_finds_nothing(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"")
    tree = write(tmp_path / "root", "images/a.jpg")
    assert tree.find_image(name, ("images", "")) == (None, reason)


@pytest.mark.parametrize("stored", ["caf\u00e9", "cafe\u0301"])
@pytest.mark.parametrize("asked", ["caf\u00e9", "cafe\u0301"])
def test_two_spellings_of_an_accent_are_one_name(tmp_path: Path, stored: str, asked: str) -> None:
    tree = write(tmp_path, f"{stored}.jpg")
    assert tree.find_image(f"{asked}.jpg", [""]) == (f"{stored}.jpg", "")
    assert tree.find_image(asked, [""], without_suffix=True) == (f"{stored}.jpg", "")


def test_names_without_suffix(tmp_path: Path) -> None:
    tree = write(tmp_path, "a.jpg", "b.jpg", "b.png", "v1.5.jpg")
    assert tree.find_image("a", [""], without_suffix=True) == ("a.jpg", "")
    assert tree.find_image("v1.5", [""], without_suffix=True) == ("v1.5.jpg", "")
    image, wrong = tree.find_image("b", [""], without_suffix=True)
    assert image is None
    assert "several image files" in wrong
