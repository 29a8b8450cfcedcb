import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidance.data.folder.csv_table import CsvRow, CsvSource, read_csv
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.data.labelled_object import LabelledObject
from guidance.errors import InputError

HEADER = "image,class,xmin,ymin,xmax,ymax\n"


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "annotations.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def source(root: Path, text: str, *images: str) -> CsvSource:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(b"")
    table(root, text)
    return CsvSource(FileTree(root))


def test_rows(tmp_path: Path) -> None:
    text = f'{HEADER}a.jpg,cat,1,2,3.5,4\r\na.jpg, dog ,,,,\n\n"b, c.jpg",,,,,\n'
    path = table(tmp_path, "\ufeff" + text)
    rows, skipped = read_csv(path)
    assert rows == [
        CsvRow("a.jpg", LabelledObject("cat", (1, 2, 3.5, 4), f"{path}:2"), f"{path}:2"),
        CsvRow("a.jpg", LabelledObject("dog", None, f"{path}:3"), f"{path}:3"),
        CsvRow("b, c.jpg", None, f"{path}:5"),
    ]
    assert skipped == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,cat", "its row has not 6 columns"),
        ("a.jpg,cat,1,2,3,4,5", "its row has not 6 columns"),
        (",cat,1,2,3,4", "its row names no image"),
        ("a.jpg,,1,2,3,4", "its row has a box but no class"),
    ],
)
def test_a_broken_row_is_counted_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    path = table(tmp_path, f'{HEADER}"two\nlines.jpg",cat,1,2,3,4\n{row}\nb.jpg,cat,1,2,3,4')
    rows, skipped = read_csv(path)
    assert [row.image for row in rows] == ["two\nlines.jpg", "b.jpg"]
    assert [(item.what, item.reason, item.where) for item in skipped] == [("object", reason, f"{path}:4")]


@pytest.mark.parametrize("corners", ["1,2,3,", "1,2,3,x", "nan,2,3,4"])
def test_a_corner_that_is_no_number_keeps_its_label(tmp_path: Path, corners: str) -> None:
    rows, _ = read_csv(table(tmp_path, f"{HEADER}a.jpg,cat,{corners}"))
    item = rows[0].item
    assert item is not None
    assert item.box is not None
    assert any(math.isnan(value) for value in item.box)


@pytest.mark.parametrize(
    "header",
    ["", "filename,width,height", "image;class;xmin;ymin;xmax;ymax", "class,image,xmin,ymin,xmax,ymax"],
)
def test_another_header_is_refused_with_the_right_one(tmp_path: Path, header: str) -> None:
    path = table(tmp_path, f"{header}\na.jpg,cat,1,2,3,4\n")
    with pytest.raises(InputError) as error:
        read_csv(path)
    for part in (str(path), "image,class,xmin,ymin,xmax,ymax", "not by semicolons", f"'{header}'"):
        assert part in str(error.value)


@pytest.mark.parametrize("rows", ["", "\n\n", "a.jpg,cat\n"])
def test_a_table_without_a_usable_row(tmp_path: Path, rows: str) -> None:
    with pytest.raises(InputError, match=r"annotations\.csv has no usable row"):
        read_csv(table(tmp_path, HEADER + rows))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER.encode() + b"\xff.jpg,cat,1,2,3,4", "UTF-8"),
        (HEADER.encode() + b'a.jpg,"cat,1,2,3,4\nb.jpg,cat,1,2,3,4', r"annotations\.csv:3: .*CSV"),
        (HEADER.encode() + b"a" * 200_000 + b",cat,1,2,3,4", r"annotations\.csv:2: .*CSV"),
    ],
)
def test_what_is_no_csv(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_csv(table(tmp_path, content))


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*annotations\.csv"):
        read_csv(tmp_path / "annotations.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.text(alphabet='a.jpg,cat"\n\r1-;', max_size=90).map(lambda text: (HEADER + text).encode())
)
def test_any_file_gives_rows_or_one_error(tmp_path: Path, content: bytes) -> None:
    path = table(tmp_path, content)
    try:
        rows, skipped = read_csv(path)
    except InputError:
        return
    assert rows
    assert all(row.image and (row.item is None or row.item.name) for row in rows)
    assert all(item.where.startswith(f"{path}:") for item in skipped)


# The source


def test_rows_of_an_image_come_together(tmp_path: Path) -> None:
    rows = "a.jpg,cat,1,2,3,4\nsub/b.jpg,,,,,\na.jpg,dog,,,,\nimages/c.jpg,cat,0,0,1,1\n"
    found = source(tmp_path, HEADER + rows, "images/a.jpg", "images/sub/b.jpg", "images/c.jpg", "d.jpg")
    assert found.images == ["images/a.jpg", "images/c.jpg", "images/sub/b.jpg"]
    record = found.read("images/a.jpg")
    assert isinstance(record, ImageRecord)
    assert [item.name for item in record.objects] == ["cat", "dog"]
    assert (record.size, record.relative) == (None, False)
    assert found.read("images/sub/b.jpg") == ImageRecord([])
    assert (found.classes, found.has_masks, found.skipped) == (None, False, ())


def test_images_that_are_missing_or_elsewhere_are_counted_once_each(tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_bytes(b"")
    rows = (
        "b.jpg,cat,1,2,3,4\nb.jpg,dog,1,2,3,4\n../outside.jpg,cat,,,,\n/etc/x.jpg,cat,,,,\na.jpg,cat,,,,\nx\n"
    )
    (tmp_path / "root").mkdir()
    found = source(tmp_path / "root", HEADER + rows, "a.jpg")
    path = tmp_path / "root" / "annotations.csv"
    assert found.images == ["a.jpg"]
    assert [(item.what, item.where) for item in found.skipped] == [
        ("object", f"{path}:7"),
        ("image", f"{path}:2"),
        ("image", f"{path}:4"),
        ("image", f"{path}:5"),
    ]


def test_one_table_in_each_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "images" / "a.jpg").write_bytes(b"")
        table(tmp_path / split, f"{HEADER}a.jpg,{split},,,,\n")
    (tmp_path / "other").mkdir()
    table(tmp_path / "other", "not looked at")
    tree = FileTree(tmp_path)
    assert CsvSource.files(tree) == ["train/annotations.csv", "valid/annotations.csv"]
    found = CsvSource(tree)
    assert found.images == ["train/images/a.jpg", "valid/images/a.jpg"]
    assert [found.split_of(image) for image in found.images] == ["train", "val"]


def test_an_image_in_two_tables(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    table(tmp_path / "train", f"{HEADER}a.jpg,cat,,,,\n")
    with pytest.raises(InputError, match=r"train/a\.jpg is listed in both annotations\.csv and train/annot"):
        source(tmp_path, f"{HEADER}train/a.jpg,cat,,,,\n", "train/a.jpg")
