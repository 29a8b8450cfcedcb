import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.data.boxes import Box
from guidance.data.folder.record import ImageRecord
from guidance.data.labelled_object import LabelledObject


def pixels(box: Box, size: tuple[int, int], relative: bool = True) -> Box | None:
    return ImageRecord([LabelledObject("cat", box, "x")], relative=relative).in_pixels(size)[0].box


def test_pixels_stay_as_they_are() -> None:
    assert pixels((1.25, 2, 3, 4), (10, 20), relative=False) == (1.25, 2, 3, 4)


def test_parts_become_pixels_of_width_and_height() -> None:
    assert pixels((0.25, 0.5, 0.5, 1), (10, 20)) == (5, 5, 10, 10)


def test_a_label_without_a_box_stays_one() -> None:
    label = LabelledObject("cat", None, "x")
    assert ImageRecord([label], relative=True).in_pixels((10, 20)) == [label]


@given(st.integers(1, 9000), st.data())
def test_six_decimals_give_the_whole_pixel_back(side: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, side - 1))
    end = data.draw(st.integers(start + 1, side))
    centre, extent = (round(v, 6) for v in ((start + end) / 2 / side, (end - start) / side))
    box = pixels((centre - extent / 2, 0, centre + extent / 2, 1), (1, side))
    assert box == (start, 0, end, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_to_the_rules_of_boxes(value: float) -> None:
    box = pixels((value, 0, 1, 1), (10, 10))
    assert box is not None
    assert not math.isfinite(box[0])


def test_an_edge_between_pixels_stays_there() -> None:
    assert pixels((0.125, 0, 0.5, 1), (100, 100)) == (12.5, 0, 50, 100)
