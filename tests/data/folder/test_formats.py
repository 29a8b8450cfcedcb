from pathlib import Path

import pytest

from guidance.data.folder.files import FileTree
from guidance.data.folder.formats import open_annotations
from guidance.errors import InputError
from tests.data.folder_tree import EXAMPLES, WRITERS


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_is_told_by_its_files(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    tree = FileTree(tmp_path)
    told = open_annotations(tree, "auto")
    assert type(told) is type(open_annotations(tree, name))
    assert len(told.images) == len(EXAMPLES)


@pytest.mark.parametrize("name", WRITERS)
def test_another_format_than_asked_for(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    other = "csv" if name != "csv" else "coco"
    with pytest.raises(
        InputError, match=rf"no annotations for the 12 images under .*Looked for {other}: "
    ) as e:
        open_annotations(FileTree(tmp_path), other)
    assert f"{name}: " not in str(e.value)


def test_no_annotations_at_all(tmp_path: Path) -> None:
    for name in ("a.jpg", "README.txt", "notes.xml", "settings.json"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as error:
        open_annotations(FileTree(tmp_path), "auto")
    for part in ("the 1 images", str(tmp_path), ".xml", "annotations.json", "annotations.csv", ".txt"):
        assert part in str(error.value)


def test_several_formats(tmp_path: Path) -> None:
    for file in ("images/a.jpg", "annotations.csv", "labels/a.txt", "classes.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("cat\n" if file == "classes.txt" else "")
    with pytest.raises(InputError) as error:
        open_annotations(FileTree(tmp_path), "auto")
    for part in ("csv (1, e.g. annotations.csv)", "yolo (1, e.g. labels/a.txt)", "data.format=csv"):
        assert part in str(error.value)
    assert list(open_annotations(FileTree(tmp_path), "yolo").images) == ["images/a.jpg"]


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.format 'yolov8'. Did you mean 'yolo'.*auto, coco, csv, voc"):
        open_annotations(FileTree(tmp_path), "yolov8")
