import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from guidance.data.boxes import clip_box
from guidance.data.labelled_object import LabelledObject, annotate

NUMBERS = {"cat": 0, "dog": 1, "owl": 2}


def test_boxes_are_clipped_or_dropped_and_labels_stay() -> None:
    objects = [
        LabelledObject("dog", (-1, 2, 30, 5), "a.xml:1"),
        LabelledObject("cat", None, "a.xml:2"),
        LabelledObject("owl", (5, 5, 4, 6), "a.xml:3"),
        LabelledObject("dog", (0, 0, 20, 10), "a.xml:4"),
    ]
    annotation, skipped = annotate(objects, (10, 20), NUMBERS)
    assert annotation.labels.tolist() == [True, True, True]
    assert annotation.boxes.tolist() == [[0, 2, 20, 5], [0, 0, 20, 10]]
    assert annotation.box_classes.tolist() == [1, 1]
    assert [(s.what, s.reason, s.where) for s in skipped] == [
        ("part of a box", "it reaches outside the image and was clipped", "a.xml:1"),
        ("box", "its corners are swapped", "a.xml:3"),
    ]


def test_an_image_without_objects() -> None:
    annotation, skipped = annotate([], (10, 20), NUMBERS)
    assert annotation.labels.tolist() == [False] * 3
    assert (annotation.boxes.shape, annotation.box_classes.shape, skipped) == ((0, 4), (0,), [])


anything = st.floats() | st.integers(-30, 30).map(float)


@given(st.tuples(anything, anything, anything, anything), st.integers(1, 20), st.integers(1, 20))
def test_clipping_keeps_exactly_the_part_within_the_image(
    box: tuple[float, float, float, float], height: int, width: int
) -> None:
    inside, wrong = clip_box(box, (height, width))
    x0, y0, x1, y1 = box
    finite = all(math.isfinite(value) for value in box)
    exists = finite and max(x0, 0) < min(x1, width) and max(y0, 0) < min(y1, height)
    assert (inside is not None) == exists
    if inside is None:
        assert wrong
    else:
        assert 0 <= inside[0] < inside[2] <= width
        assert 0 <= inside[1] < inside[3] <= height
        assert (wrong == "") == (inside == box)
        centre = ((inside[0] + inside[2]) / 2, (inside[1] + inside[3]) / 2)
        assert x0 <= centre[0] <= x1
        assert y0 <= centre[1] <= y1
        assert torch.tensor(inside).isfinite().all()
