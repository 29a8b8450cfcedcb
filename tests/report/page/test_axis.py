"""Axes: round ticks within the range, values where they belong."""

from itertools import pairwise

import pytest

from guidance.report.page.axis import Axis, fitted_axis, tick_label


def test_places_are_linear() -> None:
    axis = Axis(10, 30, 100, 0)
    assert [axis.place(value) for value in (10, 20, 30)] == [100, 50, 0]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 4), (71.2, 71.9), (1e-7, 3e-7), (0, 12345), (99.5, 100.5)]
)
def test_ticks_are_round_evenly_spaced_and_inside(low: float, high: float) -> None:
    ticks = Axis(low, high, 0, 100).ticks()
    assert 2 <= len(ticks) <= 6
    assert low - 1e-12 <= ticks[0] < ticks[-1] <= high + 1e-9
    gaps = [after - before for before, after in pairwise(ticks)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))
    assert all(len(tick_label(tick).lstrip("-")) <= 7 for tick in ticks)


def test_fitted_axis_holds_all_values_with_a_margin() -> None:
    axis = fitted_axis([3.0, 5.0], 0, 100)
    assert (axis.low, axis.high) == pytest.approx((2.9, 5.1))


@pytest.mark.parametrize("values", [[], [0.0], [70.0], [70.0, 70.0], [-2.0], [1e-30]])
def test_degenerate_ranges_still_have_an_extent(values: list[float]) -> None:
    axis = fitted_axis(values, 0, 100)
    assert axis.high > axis.low
    for value in values:
        assert axis.place(value) == pytest.approx(50)


def test_labels_have_no_noise() -> None:
    assert [tick_label(value) for value in (0.1 + 0.2, -0.0, 70.0, 12345.0)] == ["0.3", "0", "70", "12345"]
