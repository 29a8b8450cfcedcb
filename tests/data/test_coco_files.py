from pathlib import Path
from typing import Any

import pytest

from guidance.data import coco_files as module
from guidance.data.coco import COCO
from guidance.data.coco_annotation import read_coco
from guidance.errors import InputError
from tests.data.coco_tree import coco_image, write_coco


def write_test(root: Path, images: int = 1) -> Path:
    """Write a tree whose test split has images 1, 2, ...; return its instances file."""
    return write_coco(root, "val2014", [coco_image(number + 1) for number in range(images)])


@pytest.mark.parametrize("home", ["", "coco"])
@pytest.mark.parametrize("folder", ["val2014", "images/val2014"])
def test_layouts(tmp_path: Path, home: str, folder: str) -> None:
    write_coco(tmp_path / home, "val2014", [coco_image(1)], folder=folder)
    dataset = COCO(tmp_path, 2014, "test")
    assert Path(dataset.name(0)) == tmp_path / home / folder / "000000000001.jpg"
    assert dataset.image(0).shape == (3, 10, 20)


def test_the_root_goes_before_a_folder_coco_in_it(tmp_path: Path) -> None:
    write_coco(tmp_path, "val2014", [coco_image(1)])
    write_coco(tmp_path / "coco", "val2014", [coco_image(2)])
    write_coco(tmp_path / "coco", "val2017", [coco_image(3)])
    assert Path(COCO(tmp_path, 2014, "test").name(0)).stem == "000000000001"
    assert Path(COCO(tmp_path, 2017, "test").name(0)).stem == "000000000003"


def test_train_and_val_read_their_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_coco(tmp_path, "train2014", [coco_image(number) for number in range(1, 11)])
    read = []

    def counted(path: Path) -> Any:
        read.append(path)
        return read_coco(path)

    monkeypatch.setattr(module, "read_coco", counted)
    train = COCO(tmp_path, 2014, "train")
    assert len(COCO(tmp_path, 2014, "val")) == 1
    assert read == [path]
    write_coco(tmp_path, "train2014", [coco_image(number) for number in range(1, 21)])
    assert len(COCO(tmp_path, 2014, "val")) == 2
    assert len(train) == 9
    assert read == [path] * 2
    del train
    assert len(COCO(tmp_path, 2014, "train")) == 18
    assert read == [path] * 3  # nobody uses it any more, so it was forgotten


def test_a_missing_root_is_named_with_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        COCO(tmp_path / "nowhere", 2014, "train")
    text = str(error.value)
    assert "nowhere/coco/annotations/instances_train2014.json is missing (there: nothing of the kind)" in text
    assert "data.root" in text
    assert "data.download=true" in text


def test_a_missing_instances_file_lists_the_others(tmp_path: Path) -> None:
    write_test(tmp_path)
    with pytest.raises(InputError, match=r"train2014\.json is missing \(there: instances_val2014\.json\)"):
        COCO(tmp_path, 2014, "train")


def test_missing_images_are_counted_and_the_first_named(tmp_path: Path) -> None:
    write_test(tmp_path, images=3)
    for number in (2, 3):
        (tmp_path / "val2014" / f"{number:012d}.jpg").unlink()
    first = r"val2014/000000000002\.jpg\. data\.root must be .*data\.download=true"
    with pytest.raises(InputError, match=rf"2 of the 3 images .*instances_val2014\.json.*{first}"):
        COCO(tmp_path, 2014, "test")
    (tmp_path / "val2014").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"3 of the 3 images"):
        COCO(tmp_path, 2014, "test")


def test_a_file_without_images_is_named(tmp_path: Path) -> None:
    write_coco(tmp_path, "val2014", [])
    with pytest.raises(InputError, match=r"instances_val2014\.json lists no image"):
        COCO(tmp_path, 2014, "test")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write_test(tmp_path).write_text("{")
    with pytest.raises(InputError, match=r"cannot read the annotations .*instances_val2014\.json"):
        COCO(tmp_path, 2014, "test", download=True)
