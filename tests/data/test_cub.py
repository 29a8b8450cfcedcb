from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from guidance.data.waterbirds.cub import (
    LocatedBox,
    check_files,
    read_boxes,
    read_images,
    read_segmentation,
    read_training,
    relative_path,
    segmentation_file,
)
from guidance.errors import InputError
from tests.data.waterbirds_tree import ALBATROSS, ANI, write_cub_lists

IMAGES = {"1": "a/x.jpg", "2": "b/y.jpg"}


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_lists_of_cub(tmp_path: Path) -> None:
    write_cub_lists(tmp_path, [ALBATROSS, ANI], {ALBATROSS: False, ANI: True})
    write(tmp_path, "bounding_boxes.txt", "1 60.0 27.0 325.0 304.0\n2 0.5 1 2 3\n")
    images = read_images(tmp_path)
    assert images == {"1": ALBATROSS, "2": ANI}
    boxes = tmp_path / "bounding_boxes.txt"
    assert read_boxes(tmp_path, images) == {
        ALBATROSS: LocatedBox((60.0, 27.0, 385.0, 331.0), f"{boxes}:1"),
        ANI: LocatedBox((0.5, 1.0, 2.5, 4.0), f"{boxes}:2"),
    }
    assert read_training(tmp_path, images) == {ALBATROSS: False, ANI: True}


def test_blank_lines_carriage_returns_and_spaces_in_names(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_bytes(b"\r\n 1  a/x y.jpg\r\n\n2 ./b//z.jpg")
    assert read_images(tmp_path) == {"1": "a/x y.jpg", "2": "b/z.jpg"}


def test_not_every_image_need_have_a_box(tmp_path: Path) -> None:
    write(tmp_path, "bounding_boxes.txt", "2 0 0 1 nan\n")
    (box,) = read_boxes(tmp_path, IMAGES).values()
    assert box.box[:3] == (0, 0, 1)
    assert box.box[3] != box.box[3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n", r"images\.txt:1: a line must be an image number and a file name"),
        ("1 a.jpg\n\n1 b.jpg\n", r"images\.txt:3: the image number 1 stands there twice"),
        ("1 a.jpg\n2 ./a.jpg\n", r"images\.txt:2: a\.jpg is the image of .*images\.txt:1 too"),
        ("1 ../a.jpg\n", r"images\.txt:1: '\.\./a\.jpg' is no file name below"),
        ("1 /a.jpg\n", r"images\.txt:1: '/a\.jpg' is no file name below"),
        ("\n \n", r"images\.txt lists no image"),
    ],
)
def test_a_bad_list_of_images(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "images.txt", text)
    with pytest.raises(InputError, match=message):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 5\n", r":1: a line must be an image number, x, y, width and height"),
        ("1 0 0 5 5 5\n", r":1: '0 0 5 5 5' must be four numbers"),
        ("1 0 0 five 5\n", r":1: '0 0 five 5' must be four numbers"),
        ("2 0 0 5 5\n3 0 0 5 5\n", r":2: there is no image 3 in images\.txt"),
        ("2 0 0 5 5\n2 0 0 5 5\n", r":2: image 2 has a second box"),
    ],
)
def test_bad_boxes(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "bounding_boxes.txt", text)
    with pytest.raises(InputError, match=r"bounding_boxes\.txt" + message):
        read_boxes(tmp_path, IMAGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0\n", r"train_test_split\.txt does not say in which split image 2 .* is"),
        ("1 0\n2 2\n", r"train_test_split\.txt:2: '2' must be 1 for training or 0 for test"),
        ("7 0\n", r"train_test_split\.txt:1: there is no image 7"),
    ],
)
def test_a_bad_list_of_splits(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "train_test_split.txt", text)
    with pytest.raises(InputError, match=message):
        read_training(tmp_path, IMAGES)


def test_a_missing_list_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot read .*images\.txt: No such file.*in the folder of CUB-200-2011"
    ):
        read_images(tmp_path)
    (tmp_path / "images.txt").write_bytes(b"1 \xff\xfe.jpg")
    with pytest.raises(InputError, match=r"cannot read .*images\.txt: .*utf-8"):
        read_images(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["1", "2", "0", "-3.5", "nan", "inf", "1e400", "a/x.jpg", "..", "/", "\0", "\u2028"]
            ),
            max_size=6,
        ),
        max_size=5,
    )
)
def test_any_text_is_read_or_is_one_input_error(tmp_path: Path, lines: list[list[str]]) -> None:
    text = "\n".join(" ".join(fields) for fields in lines)
    for name in ("images.txt", "bounding_boxes.txt", "train_test_split.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    for read in (
        lambda: read_images(tmp_path),
        lambda: read_boxes(tmp_path, IMAGES),
        lambda: read_training(tmp_path, IMAGES),
    ):
        try:
            result = read()
        except InputError:
            continue
        assert all(isinstance(name, str) and name for name in result)


@pytest.mark.parametrize("text", ["", ".", "..", "a/../b.jpg", "/a.jpg", "a\0.jpg", "..\\a.jpg"])
def test_file_names_that_leave_their_folder(text: str) -> None:
    with pytest.raises(InputError, match=r"here:1: .* is no file name below"):
        relative_path(text, "here:1")


def test_missing_files_are_counted_and_the_first_named(tmp_path: Path) -> None:
    there, first, second = (tmp_path / name for name in ("a", "b", "c"))
    there.touch()
    check_files([there], "unpack it")
    with pytest.raises(InputError, match=r"2 of 3 files are missing, the first: .*/b; unpack it"):
        check_files([there, first, second], "unpack it")


def test_where_a_segmentation_lies() -> None:
    assert segmentation_file(Path("cub"), ALBATROSS) == Path(
        "cub/segmentations/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.png"
    )


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_a_segmentation_may_have_colours(tmp_path: Path, mode: str) -> None:
    grey = np.array([[0, 51, 128], [204, 255, 7]], np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    pixels = read_segmentation(tmp_path / "a.png", (2, 3))
    assert pixels.dtype == torch.uint8
    assert pixels.tolist() == grey.tolist()


def test_a_segmentation_of_another_size_or_torn_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (3, 2)).save(path)
    with pytest.raises(InputError, match=r"a\.png is 3 x 2 pixels, but its image is 2 x 3"):
        read_segmentation(path, (3, 2))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"cannot read .*a\.png"):
        read_segmentation(path, (2, 3))
