from pathlib import Path

import pytest

from guidance.data.folder.files import FileTree
from guidance.data.folder.label_files import label_files


def tree_of(root: Path, *files: str) -> FileTree:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return FileTree(root)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a.jpg", "a.xml"),
        ("sub/a b.PNG", "sub/a b.XML"),
        ("images/a.jpg", "images/a.xml"),
        ("images/a.jpg", "annotations/a.xml"),
        ("images/a.jpg", "labels/a.xml"),
        ("JPEGImages/a.jpg", "Annotations/a.xml"),
        ("images/train/a.jpg", "labels/train/a.xml"),
        ("train/images/a.jpg", "train/labels/a.xml"),
        ("images/x/images/a.jpg", "images/x/labels/a.xml"),
        ("images/x/images/a.jpg", "labels/x/images/a.xml"),
        ("v1.5.jpg", "v1.5.xml"),
    ],
)
def test_where_a_label_file_may_be(tmp_path: Path, image: str, label: str) -> None:
    assert label_files(tree_of(tmp_path, image, label), ".xml") == ({image: label}, set())


@pytest.mark.parametrize("label", ["b.xml", "labels/a.xml", "images/b.xml", "x/a.xml", "images/a.txt"])
def test_other_files_belong_to_no_image(tmp_path: Path, label: str) -> None:
    assert label_files(tree_of(tmp_path, "pictures/a.jpg", label), ".xml") == ({}, set())


def test_a_label_file_beside_the_image_comes_first(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/a.jpg", "labels/a.xml", "images/a.xml")
    assert label_files(tree, ".xml")[0] == {"images/a.jpg": "images/a.xml"}


def test_the_deepest_folder_of_images_comes_first(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/x/images/a.jpg", "labels/x/images/a.xml", "images/x/labels/a.xml")
    assert label_files(tree, ".xml")[0] == {"images/x/images/a.jpg": "images/x/labels/a.xml"}


def test_images_that_share_a_label_file_are_told(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "a.jpg", "a.png", "a.xml", "b.jpg", "b.xml")
    found, sharing = label_files(tree, ".xml")
    assert found == {"a.jpg": "a.xml", "a.png": "a.xml", "b.jpg": "b.xml"}
    assert sharing == {"a.jpg", "a.png"}
