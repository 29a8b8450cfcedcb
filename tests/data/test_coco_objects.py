import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import coco

from guidance.data import Skipped
from guidance.data.coco_annotation import read_coco
from tests.data.coco_tree import SQUARE, coco_content, coco_image, coco_object, write_json

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

REAL = Path(os.environ.get("GUIDANCE_DATA", "")) / "coco2017-part"


def read(tmp_path: Path, *args: Any, **kwargs: Any) -> Any:
    return read_coco(write_json(tmp_path / "instances.json", coco_content(*args, **kwargs)))


def test_images_are_in_the_order_of_their_ids_and_objects_in_that_of_the_file(tmp_path: Path) -> None:
    content = read(
        tmp_path,
        [coco_image(9, "b/x.png", (30, 40)), coco_image(4), coco_image(7)],
        [coco_object(3, 9), coco_object(2, 4, 17, bbox=[1, 2, 3.5, 4]), coco_object(1, 9, 17)],
    )
    assert len(content) == 3
    assert content.image_ids.tolist() == [4, 7, 9]
    assert content.file_names == ("000000000004.jpg", "000000000007.jpg", "b/x.png")
    assert [content.size(index) for index in range(3)] == [(10, 20), (10, 20), (40, 30)]
    assert content.categories == ("cat", "dog")
    assert content.skipped == ()
    path = tmp_path / "instances.json"
    found = [[(item.name, item.box, item.where) for item in content.objects(index)[0]] for index in range(3)]
    assert found == [
        [("cat", (1, 2, 4.5, 6), f"{path}: annotation 2")],
        [],
        [
            ("dog", (2, 1, 8, 6), f"{path}: annotation 3"),
            ("cat", (2, 1, 8, 6), f"{path}: annotation 1"),
        ],
    ]


def test_masks_are_the_union_of_a_categorys_objects(tmp_path: Path) -> None:
    other = [10.0, 1.0, 12.0, 1.0, 12.0, 6.0, 10.0, 6.0]
    runs = {"size": [10, 20], "counts": [0, 3, 197]}
    content = read(
        tmp_path,
        [coco_image(1), coco_image(2)],
        [
            coco_object(1, 1),
            coco_object(2, 1, segmentation=[other]),
            coco_object(3, 1, 17, segmentation=runs),
            coco_object(4, 2, segmentation=[other]),
        ],
    )
    names, masks = content.masks(0)
    expected = torch.zeros(2, 10, 20, dtype=torch.bool)
    expected[0, :3, 0] = True
    expected[1, 1:6, 2:8] = True
    expected[1, 1:6, 10:12] = True
    assert names == ["cat", "dog"]
    assert torch.equal(masks, expected)
    assert content.has_masks


def test_crowds_count_only_when_kept(tmp_path: Path) -> None:
    crowd = coco_object(1, 1, iscrowd=1, segmentation={"size": [10, 20], "counts": [200]})
    content = read(tmp_path, [coco_image(1)], [crowd, coco_object(2, 1, 17)])
    objects, skipped = content.objects(0)
    assert [item.name for item in objects] == ["cat"]
    assert skipped == [Skipped("object", "it is a crowd", f"{content.path}: annotation 1")]
    assert content.masks(0)[0] == ["cat"]
    objects, skipped = content.objects(0, keep_crowd=True)
    assert [item.name for item in objects] == ["dog", "cat"]
    assert skipped == []
    assert content.masks(0, keep_crowd=True)[0] == ["cat", "dog"]


@pytest.mark.parametrize("crowd", [{}, {"iscrowd": False}])
def test_an_object_without_a_mark_is_no_crowd(tmp_path: Path, crowd: dict[str, Any]) -> None:
    entry = coco_object(1, 1)
    del entry["iscrowd"]
    assert len(read(tmp_path, [coco_image(1)], [entry | crowd]).objects(0)[0]) == 1


def test_a_category_with_an_object_that_has_no_segmentation_has_no_mask(tmp_path: Path) -> None:
    annotations = [coco_object(1, 1), coco_object(2, 1, segmentation=[]), coco_object(3, 1, 17)]
    names, masks = read(tmp_path, [coco_image(1)], annotations).masks(0)
    assert names == ["cat"]
    assert masks.shape == (1, 10, 20)


def test_boxes_alone_make_no_masks(tmp_path: Path) -> None:
    entry = coco_object(1, 1)
    del entry["segmentation"]
    content = read(tmp_path, [coco_image(1)], [entry])
    assert not content.has_masks
    names, masks = content.masks(0)
    assert names == []
    assert masks.shape == (0, 10, 20)
    assert content.objects(0)[1] == []


def test_categories_of_one_name_are_one(tmp_path: Path) -> None:
    annotations = [coco_object(1, 1, 7), coco_object(2, 1, 3), coco_object(3, 1, 0)]
    content = read(tmp_path, [coco_image(1)], annotations, {7: "dog", 3: "cat", 0: "dog"})
    assert content.categories == ("dog", "cat")
    assert [item.name for item in content.objects(0)[0]] == ["dog", "cat", "dog"]


def test_an_empty_file(tmp_path: Path) -> None:
    content = read(tmp_path, categories={})
    assert len(content) == 0
    assert content.categories == ()
    assert not content.has_masks
    with pytest.raises(IndexError):
        content.objects(0)


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    content = read(tmp_path, [coco_image(1)], [coco_object(1, 1)])
    copy = pickle.loads(pickle.dumps(content))  # noqa: S301
    assert copy.objects(0) == content.objects(0)
    assert torch.equal(copy.masks(0)[1], content.masks(0)[1])


# Against pycocotools


def compare(path: Path, keep_crowd: bool) -> int:
    """Compare every object and mask of a file; return the number of objects."""
    content, oracle = read_coco(path), coco.COCO(str(path))
    assert content.image_ids.tolist() == sorted(oracle.getImgIds())
    count = 0
    for index, image in enumerate(content.image_ids.tolist()):
        entries = oracle.loadAnns(oracle.getAnnIds(image, iscrowd=None if keep_crowd else False))
        objects, skipped = content.objects(index, keep_crowd)
        expected: dict[str, Any] = {}
        for entry, item in zip(entries, objects, strict=True):
            x, y, width, height = entry["bbox"]
            assert item.name == oracle.cats[entry["category_id"]]["name"]
            assert item.box == pytest.approx((x, y, x + width, y + height), rel=1e-6)
            expected[item.name] = expected.get(item.name, False) | (oracle.annToMask(entry) > 0)
        assert all(item.reason == "it is a crowd" for item in skipped)
        names, masks = content.masks(index, keep_crowd)
        assert sorted(names) == sorted(expected)
        for name, mask in zip(names, masks, strict=True):
            assert np.array_equal(mask.numpy(), expected[name])
        count += len(objects)
    return count


@pytest.mark.parametrize("keep_crowd", [False, True])
def test_a_small_file_against_pycocotools(tmp_path: Path, keep_crowd: bool) -> None:
    triangle = [0.1, 0.3, 19.7, 2.5, 7.3, 9.9]
    runs = {"size": [10, 20], "counts": [7, 20, 3, 50, 120]}
    annotations = [
        coco_object(1, 1, segmentation=[triangle, SQUARE]),
        coco_object(2, 2, segmentation=runs, iscrowd=1),
        coco_object(3, 2, 17, segmentation=[triangle]),
        coco_object(4, 2, segmentation=[SQUARE]),
    ]
    images = [coco_image(2), coco_image(1), coco_image(3)]
    path = write_json(tmp_path / "instances.json", coco_content(images, annotations))
    assert compare(path, keep_crowd) == (4 if keep_crowd else 3)


@pytest.mark.skipif(
    "GUIDANCE_DATA" not in os.environ, reason="GUIDANCE_DATA names no folder with real images"
)
@pytest.mark.parametrize("keep_crowd", [False, True])
@pytest.mark.parametrize(("part", "least"), [("train", 700), ("val", 300)])
def test_real_annotations_against_pycocotools(part: str, least: int, keep_crowd: bool) -> None:
    assert compare(REAL / "annotations" / f"instances_{part}2017.json", keep_crowd) > least
