import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import coco

from guidance.data import ImageDataset, Skipped
from guidance.data.coco import CLASSES, COCO
from guidance.errors import InputError
from tests.data.coco_tree import Entry, coco_image, coco_object, write_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

CAT, DOG = CLASSES.index("cat"), CLASSES.index("dog")
REAL = Path(os.environ.get("GUIDANCE_DATA", "")) / "coco2017-part"


def write_test(root: Path, *objects: Entry, images: int = 1) -> Path:
    """Write a tree whose test split has images 1, 2, ...; return its instances file."""
    return write_coco(root, "val2014", [coco_image(number + 1) for number in range(images)], objects)


def names(dataset: COCO) -> list[int]:
    return [int(Path(dataset.name(index)).stem) for index in range(len(dataset))]


# What is read


def test_labels_boxes_and_images(tmp_path: Path) -> None:
    path = write_test(tmp_path, coco_object(1, 1), coco_object(2, 1, 17, bbox=[0.5, 1.25, 3, 4]))
    dataset = COCO(tmp_path, 2014, "test")
    sample = dataset.annotation(0)
    assert isinstance(dataset, ImageDataset)
    assert len(dataset) == 1
    assert sample.size == (10, 20)
    assert sample.boxes.tolist() == [[2, 1, 8, 6], [0.5, 1.25, 3.5, 5.25]]
    assert sample.box_classes.tolist() == [DOG, CAT]
    assert sample.labels.nonzero().flatten().tolist() == [CAT, DOG]
    assert dataset.image(0).shape == (3, 10, 20)
    assert dataset.image(0).dtype == torch.uint8
    assert Path(dataset.name(0)) == tmp_path / "val2014" / "000000000001.jpg"
    assert dataset.multi_label
    assert dataset.skipped == ()
    assert path == tmp_path / "annotations" / "instances_val2014.json"


def test_the_classes_are_always_the_80(tmp_path: Path) -> None:
    write_test(tmp_path, coco_object(1, 1))
    dataset = COCO(tmp_path, "2014", "test")
    assert dataset.classes == CLASSES
    assert len(set(CLASSES)) == 80
    assert dataset.annotation(0).labels.shape == (80,)


def test_masks_are_numbered_as_the_labels(tmp_path: Path) -> None:
    square = [10.0, 1.0, 12.0, 1.0, 12.0, 6.0, 10.0, 6.0]
    write_test(tmp_path, coco_object(1, 1), coco_object(2, 1, 17, segmentation=[square]), images=2)
    dataset = COCO(tmp_path, 2014, "test")
    classes, masks = dataset.masks(0)
    expected = torch.zeros(2, 10, 20, dtype=torch.bool)
    expected[0, 1:6, 10:12] = True
    expected[1, 1:6, 2:8] = True
    assert classes.tolist() == [CAT, DOG]
    assert torch.equal(masks, expected)
    assert dataset.has_masks
    classes, masks = dataset.masks(1)
    assert (classes.shape, classes.dtype, masks.shape) == ((0,), torch.int64, (0, 10, 20))


def test_boxes_alone_make_no_masks(tmp_path: Path) -> None:
    write_test(tmp_path, coco_object(1, 1, segmentation=[]))
    assert not COCO(tmp_path, 2014, "test").has_masks


def test_an_image_without_objects_is_kept(tmp_path: Path) -> None:
    write_test(tmp_path, coco_object(1, 2), images=3)
    dataset = COCO(tmp_path, 2014, "test")
    assert [bool(dataset.annotation(index).labels.any()) for index in range(3)] == [False, True, False]
    assert dataset.annotation(2).boxes.shape == (0, 4)


def test_a_crowd_counts_neither_with_box_nor_label_nor_mask(tmp_path: Path) -> None:
    crowd = coco_object(1, 1, iscrowd=1, segmentation={"size": [10, 20], "counts": [50, 150]})
    path = write_test(tmp_path, crowd, coco_object(2, 1, 17))
    dataset = COCO(tmp_path, 2014, "test")
    assert dataset.annotation(0).labels.nonzero().flatten().tolist() == [CAT]
    assert dataset.annotation(0).box_classes.tolist() == [CAT]
    assert dataset.masks(0)[0].tolist() == [CAT]
    assert dataset.skipped == (Skipped("object", "it is a crowd", f"{path}: annotation 1"),)
    kept = COCO(tmp_path, 2014, "test", keep_crowd=True)
    assert kept.annotation(0).box_classes.tolist() == [DOG, CAT]
    assert kept.masks(0)[0].tolist() == [CAT, DOG]
    assert kept.masks(0)[1][1].sum() == 150
    assert kept.skipped == ()


def test_what_is_wrong_with_an_object_is_listed(tmp_path: Path) -> None:
    path = write_test(
        tmp_path,
        coco_object(1, 1, bbox=[15, 5, 10, 2]),
        coco_object(2, 1, bbox=[1, 1, 0, 2]),
        coco_object(3, 1, 17, bbox="none"),
        coco_object(4, 1, segmentation=[[1, 2]]),
        coco_object(5, 7),
    )
    dataset = COCO(tmp_path, 2014, "test")
    assert dataset.annotation(0).boxes.tolist() == [[15, 5, 20, 7], [2, 1, 8, 6]]
    assert dataset.annotation(0).labels.nonzero().flatten().tolist() == [CAT, DOG]
    assert set(dataset.skipped) == {
        Skipped("part of a box", "it reaches outside the image and was clipped", f"{path}: annotation 1"),
        Skipped("box", "it has no area", f"{path}: annotation 2"),
        Skipped("box", "its bbox is not four finite numbers", f"{path}: annotation 3"),
        Skipped("mask", "its polygon has fewer than three corners", f"{path}: annotation 4"),
        Skipped("object", "its image is not listed", f"{path}: annotation 5"),
    }


# Splits


def test_train_and_val_are_cut_from_the_official_train(tmp_path: Path) -> None:
    write_coco(
        tmp_path,
        "train2017",
        [coco_image(number) for number in range(30, 0, -1)],
        [coco_object(number, number, [17, 18][number % 2]) for number in range(1, 31)]
        + [coco_object(99, 99)],
    )
    write_coco(tmp_path, "val2017", [coco_image(50), coco_image(40)])
    splits = {split: COCO(tmp_path, 2017, split) for split in ("train", "val", "test")}
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 27, "val": 3, "test": 2}
    assert names(splits["test"]) == [40, 50]
    train, val = names(splits["train"]), names(splits["val"])
    assert train == sorted(train)
    assert sorted(train + val) == list(range(1, 31))
    assert names(COCO(tmp_path, 2017, "val")) == val
    for dataset in (splits["train"], splits["val"]):
        for index, number in enumerate(names(dataset)):
            assert dataset.annotation(index).box_classes.tolist() == [[CAT, DOG][number % 2]]
            assert dataset.masks(index)[0].tolist() == [[CAT, DOG][number % 2]]
            assert dataset.image(index)[0, 0, 0] == pytest.approx(40 * number % 256, abs=3)
    # What belongs to no image is listed once.
    assert [len(splits[split].skipped) for split in ("train", "val", "test")] == [1, 0, 0]
    assert len(COCO(tmp_path, 2017, "val", val_fraction=0.5)) == 15


@pytest.mark.parametrize(("fraction", "split"), [(0.0, "val"), (1.0, "train"), (0.1, "val")])
def test_a_split_without_images_is_refused(tmp_path: Path, fraction: float, split: str) -> None:
    write_coco(tmp_path, "train2014", [coco_image(number) for number in range(1, 4)])
    message = rf"no image is left for the split '{split}'.*lists 3.*data\.val_fraction is {fraction}"
    with pytest.raises(InputError, match=message):
        COCO(tmp_path, 2014, split, val_fraction=fraction)


# Bad input


def test_unknown_year_split_and_fraction(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown year of COCO '2015'.*2014, 2017"):
        COCO(tmp_path, 2015, "train")
    with pytest.raises(InputError, match=r"unknown split 'valid'. Did you mean 'val'"):
        COCO(tmp_path, 2014, "valid")
    with pytest.raises(InputError, match=r"data\.val_fraction is 1\.5; it must be a number in \[0, 1\]"):
        COCO(tmp_path, 2014, "train", val_fraction=1.5)


def test_an_unknown_class_is_named(tmp_path: Path) -> None:
    path = write_coco(tmp_path, "val2014", [coco_image(1)], categories={1: "dgo"})
    with pytest.raises(
        InputError, match=r"unknown class of COCO 'dgo'. Did you mean 'dog'.*data=folder"
    ) as error:
        COCO(tmp_path, 2014, "test")
    assert str(path) in str(error.value)


def test_an_image_of_another_size_or_torn_is_named(tmp_path: Path) -> None:
    path = write_test(tmp_path)
    content = json.loads(path.read_text())
    content["images"][0]["width"] = 21
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"000000000001\.jpg is 20 x 10 pixels.*annotation says 21 x 10"):
        COCO(tmp_path, 2014, "test").image(0)
    (tmp_path / "val2014" / "000000000001.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read the image .*000000000001\.jpg"):
        COCO(tmp_path, 2014, "test").image(0)


# Real images, against pycocotools


@pytest.mark.skipif(
    "GUIDANCE_DATA" not in os.environ, reason="GUIDANCE_DATA names no folder with real images"
)
@pytest.mark.parametrize("keep_crowd", [False, True])
def test_real_images(keep_crowd: bool) -> None:
    seen = []
    for split, part, size in (("train", "train", 68), ("val", "train", 7), ("test", "val", 36)):
        dataset = COCO(REAL, 2017, split, keep_crowd=keep_crowd)
        oracle = coco.COCO(str(REAL / "annotations" / f"instances_{part}2017.json"))
        assert tuple(oracle.cats[number]["name"] for number in sorted(oracle.cats)) == CLASSES
        assert dataset.has_masks
        assert len(dataset) == size
        crowds = 0
        for index, number in enumerate(names(dataset)):
            seen.append((part, number))
            sample = dataset.annotation(index)
            entries = oracle.loadAnns(oracle.getAnnIds(number, iscrowd=None if keep_crowd else False))
            found = [CLASSES.index(oracle.cats[entry["category_id"]]["name"]) for entry in entries]
            assert sorted(set(found)) == sample.labels.nonzero().flatten().tolist()
            assert sample.box_classes.tolist() == found
            boxes = np.array([entry["bbox"] for entry in entries]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            assert np.abs(boxes - sample.boxes.numpy()).max(initial=0) < 1
            expected: dict[int, Any] = {}
            for entry, label in zip(entries, found, strict=True):
                expected[label] = expected.get(label, False) | (oracle.annToMask(entry) > 0)
            classes, masks = dataset.masks(index)
            assert classes.tolist() == sorted(expected)
            for label, mask in zip(classes.tolist(), masks, strict=True):
                assert np.array_equal(mask.numpy(), expected[label])
            crowds += len(oracle.getAnnIds(number)) - len(found)
            if index % 10 == 0:
                assert dataset.image(index).shape[1:] == sample.size
        assert sum(item.reason == "it is a crowd" for item in dataset.skipped) == crowds
    assert len(seen) == len(set(seen)) == 111
