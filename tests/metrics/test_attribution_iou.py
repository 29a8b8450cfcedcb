import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.errors import InputError
from guidance.maps import positive_evidence
from guidance.metrics import DEFAULT_THRESHOLDS, AttributionIoU
from tests.two_ranks import on_two_ranks


def slow_iou(positive: Tensor, mask: Tensor, threshold: float) -> float:
    """Count every pixel of one map that is already at the mask's size."""
    low, high = float(positive.min()), float(positive.max())
    both = either = 0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            scaled = (float(positive[y, x]) - low) / (high - low) if high - low > 1e-12 else 0.0
            predicted = scaled > threshold
            both += predicted and bool(mask[y, x])
            either += predicted or bool(mask[y, x])
    return both / either if either else 0.0


def sample(seed: int, pairs: int, size: int = 6, mask_size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(pairs, size, size, generator=generator, dtype=torch.float64)
    return maps, torch.rand(pairs, mask_size, mask_size, generator=generator) > 0.6


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 4),
    st.lists(st.floats(0, 0.999), min_size=1, max_size=6),
    st.floats(0, 0.999),
)
def test_equals_counting_every_pixel(
    seed: int, pairs: int, thresholds: list[float], threshold: float
) -> None:
    maps, masks = sample(seed, pairs)
    metric = AttributionIoU(threshold, thresholds)
    metric.update(maps, masks)

    def expected(t: float) -> float:
        return sum(slow_iou(a.clamp(min=0), m, t) for a, m in zip(maps, masks, strict=True)) / pairs

    assert float(metric.compute()) == pytest.approx(expected(threshold))
    assert metric.curve().tolist() == pytest.approx([expected(t) for t in thresholds])


def test_the_best_threshold_is_the_first_of_the_highest() -> None:
    maps, masks = sample(0, 5, 4, 8)
    metric = AttributionIoU()
    for part in (slice(0, 2), slice(2, 2), slice(2, 5)):
        metric.update(maps[part], masks[part])
    positive = positive_evidence(maps, (8, 8))
    means = [
        sum(slow_iou(a, m, t) for a, m in zip(positive, masks, strict=True)) / 5 for t in DEFAULT_THRESHOLDS
    ]
    threshold, iou = metric.best()
    assert iou == pytest.approx(max(means))
    assert threshold == DEFAULT_THRESHOLDS[means.index(max(means))]
    again = AttributionIoU(threshold)
    again.update(maps, masks)
    assert float(again.compute()) == pytest.approx(iou)
    # All three predict the same pixels of a map of zeros and ones.
    flat = AttributionIoU(thresholds=(0.0, 0.1, 0.2))
    flat.update((positive > 0).double(), masks)
    assert flat.best()[0] == 0.0


def test_a_value_on_the_threshold_is_not_above_it() -> None:
    metric = AttributionIoU(0.5, (0.25, 0.5, 0.75))
    metric.update(torch.tensor([[[0.0, 0.25, 0.5, 0.75, 1.0]]]), torch.ones(1, 1, 5, dtype=torch.bool))
    assert metric.curve().tolist() == [3 / 5, 2 / 5, 1 / 5]


def test_order_and_repetition_of_thresholds_do_not_matter() -> None:
    maps, masks = sample(1, 3)
    shuffled, plain = AttributionIoU(0.3, (0.6, 0.1, 0.6)), AttributionIoU(0.3, (0.1, 0.6))
    for metric in (shuffled, plain):
        metric.update(maps, masks)
    low, high = plain.curve().tolist()
    assert shuffled.curve().tolist() == [high, low, high]
    assert shuffled.compute() == plain.compute()


def test_degenerate_maps_and_masks() -> None:
    zero, one, pixel = torch.zeros(4, 4), torch.ones(4, 4), torch.zeros(4, 4)
    pixel[1, 2] = 3.0
    none, full, hit = torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool), pixel > 0
    cases = [
        (zero, full, 0.0),
        (-one, full, 0.0),
        (one, full, 0.0),  # constant: nothing stands out
        (zero, none, 0.0),
        (pixel, none, 0.0),
        (pixel, hit, 1.0),
        (pixel, full, 1 / 16),
        (pixel, ~hit, 0.0),
        (1e-13 * pixel, hit, 0.0),
    ]
    for attribution, mask, expected in cases:
        metric = AttributionIoU(0.0, (0.0, 0.5))
        metric.update(attribution[None], mask[None])
        assert metric.curve().tolist() == [expected, expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [3.7, 1e3, 1e6])
@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1), (32, 32)), ((1, 4), (5, 1)), ((2, 2), (3, 3)), ((7, 7), (224, 224))],
)
def test_constant_map_stays_constant_where_interpolation_rounds(
    dtype: torch.dtype, value: float, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    masks = torch.ones(1, *size, dtype=torch.bool)
    metric = AttributionIoU(0.0)
    metric.update(torch.full((1, *shape), value, dtype=dtype), masks)
    assert float(metric.compute()) == 0
    metric = AttributionIoU(0.0)
    almost = torch.full((1, *shape), value, dtype=dtype)
    almost[0, -1, -1] *= 1 + 1e-4
    metric.update(almost, masks)
    # A single value is constant, and of four columns in one the last does not count.
    assert (float(metric.compute()) > 0) == (shape[0] > 1)


def test_half_precision_is_computed_in_float32() -> None:
    maps, masks = sample(2, 4, 7, 14)
    half, full = AttributionIoU(), AttributionIoU()
    half.update(maps.bfloat16(), masks)
    full.update(maps.bfloat16().float(), masks)
    assert torch.equal(half.curve(), full.curve())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_evidence_is_not_hidden(value: float) -> None:
    maps, masks = sample(3, 2)
    maps[0, 0, 0] = value
    metric = AttributionIoU()
    metric.update(maps, masks)
    assert metric.compute().isnan()


def test_without_pairs_nothing_is_measured() -> None:
    metric = AttributionIoU(0.4)
    metric.update(torch.zeros(0, 4, 4), torch.zeros(0, 8, 8, dtype=torch.bool))
    assert metric.compute().isnan()
    assert metric.curve().isnan().all()
    threshold, iou = metric.best()
    assert threshold == 0.4
    assert math.isnan(iou)


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
def test_refuses_thresholds_outside_the_range(wrong: float) -> None:
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        AttributionIoU(wrong)
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        AttributionIoU(0.5, (0.1, wrong))
    with pytest.raises(InputError, match="at least one"):
        AttributionIoU(0.5, ())


def test_the_default_sweep_is_dense_near_zero() -> None:
    assert DEFAULT_THRESHOLDS[0] == 0.0
    assert list(DEFAULT_THRESHOLDS) == sorted(set(DEFAULT_THRESHOLDS))
    assert DEFAULT_THRESHOLDS[-1] == 0.95
    assert sum(t < 0.1 for t in DEFAULT_THRESHOLDS) == 7


def _rank(rank: int) -> list[float]:
    maps, masks = sample(4, 9)
    part = slice(0, 7) if rank == 0 else slice(7, 9)
    metric = AttributionIoU(0.33)
    metric.update(maps[part], masks[part])
    return [*metric.best(), float(metric.compute()), *metric.curve().tolist()]


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    metric = AttributionIoU(0.33)
    metric.update(*sample(4, 9))
    expected = [*metric.best(), float(metric.compute()), *metric.curve().tolist()]
    for result in on_two_ranks(_rank, tmp_path):
        assert result == pytest.approx(expected)
