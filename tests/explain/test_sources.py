from pathlib import Path

import pytest

from guidance.data import Shapes
from guidance.errors import InputError
from guidance.explain.sources import images_of, images_of_split
from tests.data.voc_tree import annotation_xml, object_xml
from tests.explain.small import write_image


def test_a_folder_with_and_without_boxes(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "b.png", 20, 10)
    write_image(tmp_path / "in" / "sub" / "a.png", 20, 10)
    (tmp_path / "in" / "notes.txt").touch()
    (tmp_path / "xml" / "sub").mkdir(parents=True)
    (tmp_path / "xml" / "sub" / "a.xml").write_text(annotation_xml([object_xml("dog", (1, 1, 5, 5))]))
    source = images_of(tmp_path / "in", str(tmp_path / "xml"), None, seed=0)
    assert source.names == ["b.png", "sub/a.png"]
    assert [source.make(i).box_names for i in range(2)] == [(), ("dog",)]
    few = images_of(tmp_path / "in", None, 1, seed=0)
    assert (len(few.names), few.available) == (1, 2)
    assert few.names == images_of(tmp_path / "in", None, 1, seed=0).names


def test_one_image_with_boxes(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 20, 10)
    subject = images_of(path, [[1, 2, 3, 4]], None, seed=0).make(0)
    assert (subject.name, subject.size, subject.box_names) == ("a.png", (10, 20), ("",))
    assert subject.read(8).shape == (3, 10, 20)


def test_images_of_a_split_have_a_box_if_any_has() -> None:
    dataset = Shapes("test", image_size=32, length={"train": 1, "val": 1, "test": 12})
    boxed = sum(len(dataset.annotation(i).boxes) > 0 for i in range(12))
    source = images_of_split(dataset, None, seed=0)
    assert (len(source.names), source.available) == (8, boxed)
    assert all(len(source.make(i).boxes) for i in range(8))
    assert images_of_split(dataset, 12, seed=1).names != images_of_split(dataset, 12, seed=0).names


def test_what_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    image = write_image(tmp_path / "a.png")
    for path, boxes, message in (
        (tmp_path / "gone.png", None, "image: no file or folder .*gone.png"),
        (tmp_path / "empty", None, r"image: no image in .*empty \(.bmp"),
        (tmp_path, [[0, 0, 1, 1]], "is of one image, but .* is a folder"),
        (tmp_path, str(tmp_path / "gone"), "boxes: no file or folder"),
        (image, 3, "boxes is 3; it must be"),
    ):
        with pytest.raises(InputError, match=message):
            images_of(path, boxes, None, seed=0)
