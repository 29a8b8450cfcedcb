import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from guidance.data.folder import Folder
from guidance.data.folder.coco import CocoSource
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.errors import InputError
from tests.data.folder_tree import Object, write_json

Images = dict[str, tuple[tuple[int, int], list[Object]]]
RED: list[Object] = [("red", (1, 2, 5, 6))]


def source(root: Path, jsons: dict[str, Images], *images: str) -> CocoSource:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(b"")
    for file, entries in jsons.items():
        write_json(root / file, entries)
    return CocoSource(FileTree(root))


def change(path: Path, key: str, number: int, **values: Any) -> None:
    content = json.loads(path.read_text())
    content[key][number] |= values
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("annotations.json", "a b.jpg"),
        ("annotations.json", "images/a b.jpg"),
        ("_annotations.coco.json", "a b.jpg"),
        ("train/_annotations.coco.json", "train/a b.jpg"),
        ("train/annotations.json", "train/images/a b.jpg"),
        ("annotations/instances.json", "images/a b.jpg"),
        ("annotations/instances_default.json", "annotations/a b.jpg"),
        ("annotations/instances_train.json", "train/a b.jpg"),
        ("annotations/instances_train2017.json", "images/train2017/a b.jpg"),
        ("instances-val.json", "val/images/a b.jpg"),
    ],
)
def test_where_the_files_may_be(tmp_path: Path, file: str, image: str) -> None:
    found = source(tmp_path, {file: {"a b.jpg": ((20, 10), RED)}}, image, "other/a b.jpg")
    assert CocoSource.files(FileTree(tmp_path)) == [file]
    assert found.images == [image]
    record = found.read(image)
    assert isinstance(record, ImageRecord)
    assert record.size == (10, 20)
    assert [(item.name, item.box) for item in record.objects] == RED
    assert (found.classes, found.has_masks, found.skipped) == (("blue", "red"), True, ())


@pytest.mark.parametrize(
    "file", ["other.json", "Annotations.json", "x/annotations.json", "annotations/captions_train.json"]
)
def test_other_files_are_left_alone(tmp_path: Path, file: str) -> None:
    write_json(tmp_path / file, {"a.jpg": ((20, 10), RED)})
    assert CocoSource.files(FileTree(tmp_path)) == []


def test_the_split_is_told_by_folder_or_name(tmp_path: Path) -> None:
    jsons: dict[str, Images] = {
        "annotations/instances_val2017.json": {"a.jpg": ((20, 10), RED)},
        "test/annotations.json": {"b.jpg": ((20, 10), RED)},
        "instances_all.json": {"c.jpg": ((20, 10), RED)},
    }
    found = source(tmp_path, jsons, "images/a.jpg", "test/b.jpg", "c.jpg")
    splits = {image: found.split_of(image) for image in found.images}
    assert splits == {"images/a.jpg": "val", "test/b.jpg": "test", "c.jpg": None}


def test_categories_of_several_files_are_one_list(tmp_path: Path) -> None:
    entries: dict[str, Images] = {
        "train/annotations.json": {"a.jpg": ((20, 10), RED)},
        "val/annotations.json": {"b.jpg": ((20, 10), RED)},
    }
    source(tmp_path, entries, "train/a.jpg", "val/b.jpg")
    # The same category under another name and number.
    change(tmp_path / "val/annotations.json", "categories", 0, name="green")
    found = CocoSource(FileTree(tmp_path))
    assert found.classes == ("blue", "red", "green")


def test_images_that_are_missing_or_meant_twice_are_counted(tmp_path: Path) -> None:
    entries: Images = dict.fromkeys(("a.jpg", "gone.jpg", "images/a.jpg"), ((20, 10), RED))
    found = source(tmp_path, {"annotations.json": entries}, "images/a.jpg")
    assert found.images == ["images/a.jpg"]
    assert [(item.what, item.reason, item.where) for item in found.skipped] == [
        ("image", "its file is missing", f"{tmp_path}/annotations.json: image 2"),
        ("image", "another entry means the same file", f"{tmp_path}/annotations.json: image 3"),
    ]


def test_an_image_in_two_files(tmp_path: Path) -> None:
    jsons: dict[str, Images] = {
        "annotations.json": {"train/a.jpg": ((20, 10), RED)},
        "train/annotations.json": {"a.jpg": ((20, 10), RED)},
    }
    with pytest.raises(InputError, match=r"train/a\.jpg is listed in both annotations\.json and train/annot"):
        source(tmp_path, jsons, "train/a.jpg")


def test_crowds_are_skipped_with_their_masks(tmp_path: Path) -> None:
    objects: list[Object] = [("red", (0, 0, 4, 4)), ("blue", (4, 4, 8, 8))]
    source(tmp_path, {"annotations.json": {"a.jpg": ((20, 10), objects)}}, "a.jpg")
    change(tmp_path / "annotations.json", "annotations", 0, iscrowd=1)
    found = CocoSource(FileTree(tmp_path))
    record = found.read("a.jpg")
    assert isinstance(record, ImageRecord)
    assert [item.name for item in record.objects] == ["blue"]
    assert [item.reason for item in record.skipped] == ["it is a crowd"]
    names, masks = found.masks("a.jpg", (10, 20))
    assert names == ["blue"]
    assert masks.sum() == 16


def test_without_segmentations_there_are_no_masks(tmp_path: Path) -> None:
    source(tmp_path, {"annotations.json": {"a.jpg": ((20, 10), RED)}}, "a.jpg")
    change(tmp_path / "annotations.json", "annotations", 0, segmentation=[])
    assert CocoSource(FileTree(tmp_path)).has_masks is False


def test_masks_of_a_rotated_photograph_are_those_of_the_stored_pixels(tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    turned = Image.Exif()
    turned[0x0112] = 6
    for split in splits:
        (tmp_path / split).mkdir()
        Image.new("RGB", (20, 10)).save(tmp_path / split / "a.png", exif=turned)
        write_json(tmp_path / f"instances_{split}.json", {f"{split}/a.png": ((20, 10), RED)})
    assert [len(Folder(tmp_path, split)) for split in splits] == [1, 1, 1]
    dataset = Folder(tmp_path, "val")
    assert dataset.image(0).shape == (3, 10, 20)
    classes, masks = dataset.masks(0)
    expected = torch.zeros(1, 10, 20, dtype=torch.bool)
    expected[0, 2:6, 1:5] = True
    assert classes.tolist() == [1]
    assert torch.equal(masks, expected)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 30)
    | st.floats()
    | st.sampled_from(["a.jpg", "../a.jpg", "red"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "file_name", "counts", "size"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def entries(example: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    """Lists of entries in which some values are replaced by any other."""
    changed = st.fixed_dictionaries({}, optional=dict.fromkeys(example, json_values))
    return st.lists(changed.map(lambda values: example | values) | json_values, max_size=3)


documents = st.fixed_dictionaries(
    {
        "images": entries({"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}),
        "annotations": entries(
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [1, 2, 3, 4],
                "segmentation": [[0, 0, 5, 0, 5, 5]],
            }
        ),
        "categories": entries({"id": 1, "name": "red"}),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(documents | json_values)
def test_any_json_gives_records_or_one_error(tmp_path: Path, document: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    try:
        found = CocoSource(FileTree(tmp_path))
    except InputError:
        return
    assert set(found.images) <= {"a.jpg"}
    for image in found.images:
        record = found.read(image)
        assert isinstance(record, ImageRecord)
        assert record.size is not None
        names, masks = found.masks(image, record.size)
        assert masks.shape == (len(names), *record.size)


@pytest.mark.skipif("GUIDANCE_DATA" not in os.environ, reason="GUIDANCE_DATA names no folder of real images")
def test_real_images_of_coco() -> None:
    root = Path(os.environ["GUIDANCE_DATA"]) / "coco2017-part"
    numbers = {}
    for split in ("train", "val", "test"):
        dataset = Folder(root, split, split_by="fraction")
        numbers[split] = len(dataset)
        assert dataset.has_masks
        for index in range(0, len(dataset), 7):
            annotation = dataset.annotation(index)
            assert dataset.image(index).shape[1:] == annotation.size
            classes, masks = dataset.masks(index)
            assert annotation.labels[classes].all()
            for number, mask in zip(classes.tolist(), masks, strict=True):
                # Most of an object's pixels lie in its boxes.
                boxes = annotation.boxes[annotation.box_classes == number].round().int().tolist()
                inside = torch.zeros_like(mask)
                for x0, y0, x1, y1 in boxes:
                    inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
                assert (mask & inside).sum() >= 0.99 * mask.sum()
    assert numbers == {"train": 78, "val": 16, "test": 17}
