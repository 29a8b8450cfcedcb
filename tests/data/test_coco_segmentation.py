from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from guidance.data.coco_segmentation import Segmentations, parse_segmentation

OLD_NUMPY = "__array__ implementation doesn't accept a copy keyword"
"""What pycocotools makes numpy say."""

TRIANGLE = [0, 0, 9, 0, 0, 9]


def draw(value: Any, size: tuple[int, int]) -> torch.Tensor:
    return Segmentations([parse_segmentation(value)]).draw([0], size)


masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(deadline=None)
@given(mask=masks)
def test_run_lengths_are_drawn_as_they_were_encoded(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    height, width = mask.shape
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    pixels = [False, *mask.T.flatten().tolist()]
    changes = [place for place in range(height * width) if pixels[place] != pixels[place + 1]]
    counts = np.diff([0, *changes, height * width]).tolist()
    for value in (
        {"size": [height, width], "counts": packed["counts"].decode()},
        {"size": [height, width], "counts": counts},
    ):
        parsed = parse_segmentation(value)
        assert parsed.problems == ()
        assert parsed.size == (height, width)
        assert np.array_equal(draw(value, (height, width)).numpy(), mask)


def test_long_run_lengths_are_read_too() -> None:
    mask = np.zeros((4000, 9000), dtype=np.uint8, order="F")
    mask[17:, 4000:8000] = 1
    mask[5, 3] = 1
    packed = coco_mask.encode(mask)["counts"].decode()
    parsed = parse_segmentation({"size": [4000, 9000], "counts": packed})
    assert parsed.runs is not None
    assert int(parsed.runs[1::2].sum()) == mask.sum()
    assert int(parsed.runs.sum()) == mask.size


polygons = st.lists(
    st.lists(st.floats(-5, 45).map(lambda value: round(value, 2)), min_size=6, max_size=12).map(
        lambda numbers: numbers[: len(numbers) // 2 * 2]
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.filterwarnings(f"ignore:{OLD_NUMPY}")
@settings(deadline=None)
@given(value=polygons)
def test_polygons_are_drawn_as_pycocotools_draws_the_numbers_of_the_file(value: list[list[float]]) -> None:
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(value, 30, 40)))
    assert np.array_equal(draw(value, (30, 40)).numpy(), expected > 0)


def test_the_union_of_several_objects_is_drawn() -> None:
    items = [
        parse_segmentation([[0, 0, 2, 0, 2, 2, 0, 2]]),
        parse_segmentation([[5, 5, 6, 5, 6, 6, 5, 6]]),
        parse_segmentation({"size": [8, 8], "counts": [8, 3, 53]}),
        parse_segmentation(None),
    ]
    drawn = Segmentations(items).draw([0, 2], (8, 8))
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:2, :2] = True
    expected[:3, 1] = True
    assert torch.equal(drawn, expected)
    assert Segmentations(items).drawable.tolist() == [True, True, True, False]
    assert not Segmentations(items).draw([3], (8, 8)).any()


def test_no_objects_at_all() -> None:
    assert Segmentations([]).drawable.shape == (0,)
    assert not Segmentations([]).draw([], (2, 3)).any()


@pytest.mark.parametrize("value", [None, []])
def test_nothing_is_no_problem(value: Any) -> None:
    parsed = parse_segmentation(value)
    assert parsed.problems == ()
    assert not Segmentations([parsed]).drawable.any()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "neither polygons nor run lengths"),
        ("abc", "neither polygons nor run lengths"),
        ([1, 2, 3, 4, 5, 6], "neither polygons nor run lengths"),
        ([[]], "fewer than three corners"),
        ([[1, 2, 3, 4]], "fewer than three corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a corner without y"),
        ([[1, 2, 3, 4, 5, "6"]], "not a number"),
        ([[1, 2, 3, 4, 5, True]], "not a number"),
        ([[1, 2, 3, 4, 5, None]], "not a number"),
        ([[float("nan"), 2, 3, 4, 5, 6]], "impossible coordinate"),
        ([[1, 2, 3, float("nan"), 5, 6]], "impossible coordinate"),
        ([[1, 2, 3, 4, 5, float("inf")]], "impossible coordinate"),
        ([[1, 2, 3, 4, 5, 1e300]], "impossible coordinate"),
        ([[1, 2, 3, 4, 5, -(10**400)]], "impossible coordinate"),
        ([[0, 0, 1e6, 0, 1e6, 1e6]], "longer than 2,000,000 pixels"),
        ([[0, 0, 9000, 0] * 200], "longer than 2,000,000 pixels"),
        ({}, "no size"),
        ({"counts": [6]}, "no size"),
        ({"size": [2, True], "counts": [2]}, "no size"),
        ({"size": [2, 0], "counts": [0]}, "no size"),
        ({"size": [2, 3], "counts": None}, "broken"),
        ({"size": [2, 3], "counts": [6.0]}, "broken"),
        ({"size": [2, 3], "counts": [True, 5]}, "broken"),
        ({"size": [2, 3], "counts": ""}, "broken"),
        ({"size": [2, 3], "counts": "\u00e9"}, "broken"),
        ({"size": [2, 3], "counts": "a b"}, "broken"),
        ({"size": [2, 3], "counts": "~"}, "broken"),
        ({"size": [2, 3], "counts": "oo"}, "broken"),
        ({"size": [2, 3], "counts": "oooooooooooooooo0"}, "broken"),
        ({"size": [2, 3], "counts": []}, "do not fill"),
        ({"size": [2, 3], "counts": [1, 4]}, "do not fill"),
        ({"size": [2, 3], "counts": [1, 6]}, "do not fill"),
        ({"size": [2, 3], "counts": [7, -1]}, "do not fill"),
        ({"size": [2, 3], "counts": [2**32 + 6]}, "do not fill"),
        ({"size": [10**200, 10**200], "counts": [10**400]}, "do not fill"),
    ],
)
def test_what_cannot_be_drawn_is_a_problem(value: Any, problem: str) -> None:
    parsed = parse_segmentation(value)
    assert len(parsed.problems) == 1
    assert problem in parsed.problems[0]
    assert not Segmentations([parsed]).drawable.any()


def test_the_sound_parts_of_a_segmentation_are_drawn() -> None:
    parsed = parse_segmentation([[1, 2], TRIANGLE, [3, 4]])
    assert parsed.problems == ("its polygon has fewer than three corners",)
    assert torch.equal(draw([[1, 2], TRIANGLE, [3, 4]], (9, 9)), draw([TRIANGLE], (9, 9)))


def test_empty_runs_and_many_of_them_do_no_harm() -> None:
    counts = [0] * 100_001 + [4] + [0] * 100_000
    assert draw({"size": [2, 2], "counts": counts}, (2, 2)).all()


numbers = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3), st.integers(0, 30)
)
values = st.one_of(
    st.lists(st.lists(numbers, max_size=9), max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "size": st.one_of(st.just([4, 5]), st.lists(numbers, max_size=3), numbers),
            "counts": st.one_of(st.lists(st.integers(-1, 20), max_size=5), st.text(max_size=12), numbers),
        },
    ),
    st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno", max_size=20).map(
        lambda text: {"size": [4, 5], "counts": text}
    ),
    numbers,
)


@settings(max_examples=300, deadline=None)
@given(value=values)
def test_whatever_the_value_it_is_drawn_or_a_problem(value: Any) -> None:
    parsed = parse_segmentation(value)
    size = parsed.size or (4, 5)
    drawn = Segmentations([parsed]).draw([0], size) if size[0] * size[1] < 10**6 else torch.zeros(4, 5)
    assert drawn.shape == size or size != (4, 5)
    assert all(problem.startswith("its ") for problem in parsed.problems)
