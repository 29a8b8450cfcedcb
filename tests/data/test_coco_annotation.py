import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidance.data import Skipped
from guidance.data.coco_annotation import read_coco
from guidance.errors import InputError
from tests.data.coco_tree import coco_content, coco_image, coco_object, write_json


def read(tmp_path: Path, *args: Any, **kwargs: Any) -> Any:
    return read_coco(write_json(tmp_path / "instances.json", coco_content(*args, **kwargs)))


# What is skipped


def test_objects_that_cannot_be_placed_are_skipped(tmp_path: Path) -> None:
    annotations = [coco_object(5, 1), coco_object(6, 99), coco_object(5, 1, 17)]
    content = read(tmp_path, [coco_image(1)], annotations)
    assert [item.name for item in content.objects(0)[0]] == ["dog"]
    assert content.skipped == (
        Skipped("object", "its image is not listed", f"{content.path}: annotation 6"),
        Skipped("object", "an earlier object has its id", f"{content.path}: annotation 5"),
    )


def test_an_image_listed_twice_counts_once(tmp_path: Path) -> None:
    content = read(tmp_path, [coco_image(1), coco_image(2), coco_image(1)], [coco_object(1, 1)])
    assert content.image_ids.tolist() == [1, 2]
    assert content.skipped == (Skipped("image", "it is listed twice", f"{content.path}: images[2]"),)


@pytest.mark.parametrize(
    "box",
    [
        *(None, {}, "1234", [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "4"], [1, 2, 3, True], [1, 2, 3, None]),
        *([1, 2, math.nan, 4], [1, math.inf, 3, 4], [1, 2, 1e300, 4], [1, 2, 10**400, 4]),
    ],
)
def test_a_broken_box_is_skipped_and_the_label_stays(tmp_path: Path, box: Any) -> None:
    content = read(tmp_path, [coco_image(1)], [coco_object(1, 1, bbox=box)])
    objects, skipped = content.objects(0)
    where = f"{content.path}: annotation 1"
    assert [(item.name, item.box) for item in objects] == [("dog", None)]
    assert skipped == [Skipped("box", "its bbox is not four finite numbers", where)]


def test_a_broken_segmentation_is_skipped_and_the_box_stays(tmp_path: Path) -> None:
    annotations = [
        coco_object(1, 1, segmentation=[[1, 2, 3, 4]]),
        coco_object(2, 1, 17, segmentation={"size": [20, 10], "counts": [200]}),
    ]
    content = read(tmp_path, [coco_image(1)], annotations)
    objects, skipped = content.objects(0)
    assert [item.box for item in objects] == [(2, 1, 8, 6)] * 2
    assert skipped == [
        Skipped("mask", "its polygon has fewer than three corners", f"{content.path}: annotation 1"),
        Skipped("mask", "its run lengths are for an image of another size", f"{content.path}: annotation 2"),
    ]
    assert not content.has_masks


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cannot read the annotations .*Expecting value"),
        (b"{", "cannot read the annotations .*Expecting property name"),
        (b"\xff\xff\xff", "cannot read the annotations .*can't decode"),
        (b"[" * 200_000, "its lists are nested too deeply"),
        (b'{"a":' * 200_000, "its lists are nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "cannot read the annotations .*digits"),
        (b"[]", 'is no JSON object; .*"images", "annotations" and "categories"'),
        (b"{}", 'has no list "categories"'),
        (b'{"categories": [], "annotations": []}', 'has no list "images"'),
        (b'{"categories": [], "images": [], "annotations": {}}', 'has no list "annotations"'),
    ],
)
def test_a_file_that_is_no_instances_file(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message) as error:
        read_coco(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_huge_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        read_coco(tmp_path / "gone.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(4 * 10**9 + 1)
    with pytest.raises(InputError, match=r"huge\.json: it has 4\.0 GB, and at most 4 GB"):
        read_coco(tmp_path / "huge.json")


def changed(entry: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return a copy with other values; those that are ... are left out."""
    return {key: value for key, value in (entry | values).items() if value is not ...}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": ...}, r'images\[1\]: "id" is missing; it must be an integer'),
        ({"id": "2"}, r"""images\[1\]: "id" is '2'"""),
        ({"id": True}, r'images\[1\]: "id" is True'),
        ({"id": 2.0}, r'images\[1\]: "id" is 2\.0'),
        ({"id": 2**63}, r'images\[1\]: "id" is 9223'),
        ({"id": -1}, r'images\[1\]: "id" is -1'),
        ({"id": 1}, r"images\[1\]: another image has the id 1"),
        ({"width": ...}, r'"width" is missing'),
        ({"height": 0}, r'"height" is 0; it must be an integer of at least 1'),
        ({"height": math.nan}, r'"height" is nan'),
        ({"width": 20_000, "height": 20_000}, r"images\[1\] has 20000 x 20000 pixels; at most 178,956,970"),
        ({"file_name": ...}, r'"file_name" is missing'),
        ({"file_name": 5}, r'"file_name" is 5; it must be a text'),
        ({"file_name": ""}, r"\"file_name\" is ''"),
        ({"file_name": "a\0.jpg"}, r"\"file_name\" is 'a\\x00\.jpg'"),
        ({"file_name": "a\ud800.jpg"}, r"\"file_name\" is 'a\\ud800\.jpg'"),
        ({"file_name": "/etc/passwd"}, r"images\[1\]: the file_name '/etc/passwd' leads out"),
        ({"file_name": "\\\\host\\a.jpg"}, "leads out"),
        ({"file_name": "../a.jpg"}, "leads out"),
        ({"file_name": "a/../../b.jpg"}, "leads out"),
        ({"file_name": "a\\..\\..\\b.jpg"}, "leads out"),
        ({"file_name": "000000000001.jpg"}, r"images\[1\]: .*is that of the image with the id 1 too"),
    ],
)
def test_a_wrong_image_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, [coco_image(1), changed(coco_image(2), **values)])
    assert str(tmp_path / "instances.json") in str(error.value)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": ...}, r'annotations\[1\]: "id" is missing'),
        ({"id": None}, r'annotations\[1\]: "id" is None'),
        ({"image_id": ...}, r'annotation 2: "image_id" is missing'),
        ({"image_id": "1"}, r"""annotation 2: "image_id" is '1'"""),
        ({"category_id": ...}, r'annotation 2: "category_id" is missing'),
        ({"category_id": True}, r'annotation 2: "category_id" is True'),
        ({"category_id": 5}, r"annotation 2 has the category_id 5, which is not among"),
        ({"iscrowd": 2}, r'annotation 2: "iscrowd" is 2; it must be 0 or 1'),
        ({"iscrowd": "0"}, r"""annotation 2: "iscrowd" is '0'"""),
        ({"iscrowd": [1]}, r'annotation 2: "iscrowd" is \[1\]'),
    ],
)
def test_a_wrong_object_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, [coco_image(1)], [coco_object(1, 1), changed(coco_object(2, 1), **values)])
    assert str(tmp_path / "instances.json") in str(error.value)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": 1}], r'categories\[0\]: "name" is missing'),
        ([{"id": 1, "name": " "}], r"categories\[0\]: \"name\" is ' '"),
        ([{"id": "1", "name": "dog"}], r"categories\[0\]: \"id\" is '1'"),
        (
            [{"id": 1, "name": "dog"}, {"id": 1, "name": "cat"}],
            r"categories\[1\]: another category has the id 1",
        ),
        (["dog"], r"categories\[0\] is 'dog'; it must be a JSON object"),
    ],
)
def test_a_wrong_category_is_named(tmp_path: Path, categories: Any, message: str) -> None:
    path = write_json(tmp_path / "instances.json", coco_content() | {"categories": categories})
    with pytest.raises(InputError, match=message):
        read_coco(path)


# Anything at all

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=4),
)


SOUND = coco_content(
    [coco_image(1), coco_image(2), coco_image(3)],
    [
        coco_object(1, 1),
        coco_object(2, 2, iscrowd=1, segmentation={"size": [10, 20], "counts": [3, 5, 192]}),
        coco_object(3, 2, 17, segmentation={"size": [10, 20], "counts": "3U6"}),
    ],
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A sound file in which some values are replaced, removed or added."""
    content = deepcopy(SOUND)
    for _ in range(draw(st.integers(0, 3))):
        place: Any = content
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if draw(st.integers(0, 3)) == 0 or not isinstance(place[key], dict | list) or not place[key]:
                action = draw(st.sampled_from(["replace", "remove", "repeat"]))
                if action == "replace":
                    place[key] = draw(odd)
                elif action == "remove":
                    del place[key]
                elif isinstance(place, list):
                    place.append(deepcopy(place[key]))
                break
            place = place[key]
    return content


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=damaged())
def test_a_damaged_file_is_read_with_skips_or_is_one_error(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    try:
        annotations = read_coco(path)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert str(path) in message
        return
    used = skipped = 0
    for index in range(len(annotations)):
        objects, some = annotations.objects(index)
        names, masks = annotations.masks(index)
        assert masks.shape == (len(names), *annotations.size(index))
        assert set(names) <= {item.name for item in objects}
        used += len(objects)
        skipped += sum(item.what == "object" for item in some)
    skipped += sum(item.what == "object" for item in annotations.skipped)
    assert used + skipped == len(content["annotations"])
