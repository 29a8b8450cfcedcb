from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.data.annotation import Skipped
from guidance.data.boxes import Box
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.yolo import YoloSource, read_yolo
from guidance.data.labelled_object import annotate
from guidance.errors import InputError

NAMES = {0: "cat", 1: "dog", 7: "cow"}


def boxes(text: str) -> list[tuple[str, Box | None]]:
    """Of an image of 100 x 100 pixels."""
    return [(item.name, item.box) for item in read_yolo(text, NAMES, "a.txt").in_pixels((100, 100))]


def source(root: Path, files: dict[str, str | bytes]) -> YoloSource:
    for file, content in {"classes.txt": "cat\ndog\n", **files}.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return YoloSource(FileTree(root))


def test_centre_and_size_become_corners() -> None:
    assert boxes("0 0.5 0.5 1 1\n1 0.2 0.3 0.2 0.4\r\n\n 7.0\t.5 .5 .1 .1 ") == [
        ("cat", (0, 0, 100, 100)),
        ("dog", (10, 10, 30, 50)),
        ("cow", (45, 45, 55, 55)),
    ]


def test_a_polygon_counts_as_its_bounding_box() -> None:
    assert boxes("1 0.5 0.1 0.9 0.4 0.2 0.6") == [("dog", (20, 10, 90, 60))]
    assert boxes("1 0.1 0.1 0.9 0.1 0.9 0.4 0.1 0.4") == [("dog", (10, 10, 90, 40))]


def test_an_empty_file_is_an_image_without_objects() -> None:
    assert read_yolo("\n \n", NAMES, "a.txt") == ImageRecord([], relative=True)


@pytest.mark.parametrize("number", ["2", "-1", "cat", "nan", "inf", "0.5"])
def test_a_class_without_a_name_is_skipped(number: str) -> None:
    record = read_yolo(f"0 .5 .5 1 1\n{number} .5 .5 1 1", NAMES, "a.txt")
    assert [item.name for item in record.objects] == ["cat"]
    assert record.skipped == (Skipped("object", "its class number has no name", "a.txt:2"),)


@pytest.mark.parametrize("numbers", ["", "0.5", "0.5 0.5 1", "0.5 0.5 1 1 0.9", "0 0 0 1 1 1 0.5"])
def test_another_count_of_numbers_keeps_the_label(numbers: str) -> None:
    record = read_yolo(f"1 {numbers}", NAMES, "a.txt")
    assert [(item.name, item.box) for item in record.objects] == [("dog", None)]
    assert [(item.what, item.where) for item in record.skipped] == [("box", "a.txt:1")]


@pytest.mark.parametrize("row", ["1 x .5 1 1", "1 .5 .5 nan 1", "1 0 0 x 1 1 1", "1 0.5 0.5 -0.1 0.2"])
def test_numbers_that_make_no_box_keep_the_label(row: str) -> None:
    record = read_yolo(row, NAMES, "a.txt")
    annotation, skipped = annotate(record.in_pixels((10, 10)), (10, 10), {"dog": 0})
    assert annotation.labels.tolist() == [True]
    assert len(annotation.boxes) == 0
    assert [item.what for item in skipped] == ["box"]


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=80) | st.text(alphabet="0123456789.-e \nnaif", max_size=120),
    st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)),
)
def test_any_text_gives_objects_and_counted_skips(text: str, size: tuple[int, int]) -> None:
    record = read_yolo(text, NAMES, "a.txt")
    numbers = {name: number for number, name in enumerate(NAMES.values())}
    annotation, skipped = annotate(record.in_pixels(size), size, numbers)
    rows = sum(1 for line in text.splitlines() if line.split())
    lost = [item for item in (*record.skipped, *skipped) if item.what != "part of a box"]
    assert len(annotation.boxes) + len(lost) == rows


# The source


def test_each_image_has_its_file_and_lists_are_none(tmp_path: Path) -> None:
    found = source(
        tmp_path,
        {
            "images/train/a.jpg": "", "labels/train/a.txt": "1 .5 .5 1 1",
            "images/b.jpg": "", "images/b.txt": "",
            "images/missing.jpg": "",
            "train.jpg": "", "train.txt": "a.jpg",
        },
    )  # fmt: skip
    assert found.images == ["images/b.jpg", "images/train/a.jpg"]
    assert found.files(FileTree(tmp_path)) == ["images/b.txt", "labels/train/a.txt"]
    assert (found.classes, found.has_masks) == (("cat", "dog"), False)
    record = found.read("images/train/a.jpg")
    assert isinstance(record, ImageRecord)
    assert [(item.name, item.where) for item in record.objects] == [
        ("dog", f"{tmp_path}/labels/train/a.txt:1")
    ]
    assert found.read("images/b.jpg") == ImageRecord([], relative=True)


def test_files_that_cannot_be_read_or_are_shared(tmp_path: Path) -> None:
    found = source(tmp_path, {"a.jpg": "", "a.txt": b"\xff", "b.jpg": "", "b.png": "", "b.txt": ""})
    assert found.read("a.jpg") == Skipped("image", "its annotation file cannot be read", f"{tmp_path}/a.txt")
    for image in ("b.jpg", "b.png"):
        shared = found.read(image)
        assert shared == Skipped("image", "another image has the same annotation file", f"{tmp_path}/{image}")


def test_no_names(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(InputError, match=r"add .*classes\.txt"):
        YoloSource(FileTree(tmp_path))
