import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from guidance.maps import positive_evidence
from guidance.metrics import EnergyPointingGame, energy_in_mask
from tests.two_ranks import on_two_ranks


def slow_energy(positive: Tensor, mask: Tensor) -> float:
    """Count every pixel of one map that is already at the mask's size."""
    inside = total = 0.0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            total += float(positive[y, x])
            inside += float(positive[y, x]) if mask[y, x] else 0.0
    return inside / total if total > 1e-12 else 0.0


def slow_bilinear(small: Tensor, height: int, width: int) -> Tensor:
    """Interpolate one map with pixel centres at half-integers, edges repeated."""
    result = torch.zeros(height, width, dtype=small.dtype)
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * small.shape[0] / height - 0.5, 0), small.shape[0] - 1)
            u = min(max((x + 0.5) * small.shape[1] / width - 0.5, 0), small.shape[1] - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, small.shape[0] - 1), min(x0 + 1, small.shape[1] - 1)
            top = small[y0, x0] * (1 - (u - x0)) + small[y0, x1] * (u - x0)
            bottom = small[y1, x0] * (1 - (u - x0)) + small[y1, x1] * (u - x0)
            result[y, x] = top * (1 - (v - y0)) + bottom * (v - y0)
    return result


def sample(
    seed: int, pairs: int, size: int = 8, mask_size: int = 8, classes: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(pairs, size, size, generator=generator)
    masks = torch.rand(pairs, mask_size, mask_size, generator=generator) > 0.6
    return maps, masks, torch.randint(classes, (pairs,), generator=generator)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([torch.float32, torch.float64]))
def test_equals_counting_every_pixel(seed: int, pairs: int, dtype: torch.dtype) -> None:
    maps, masks, _ = sample(seed, pairs, 5, 5)
    expected = [slow_energy(a.clamp(min=0), m) for a, m in zip(maps, masks, strict=True)]
    energy = energy_in_mask(maps.to(dtype), masks)
    assert energy.dtype == dtype
    torch.testing.assert_close(
        energy.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


def test_signed_map_is_brought_to_the_image_size_before_its_positive_part_is_taken() -> None:
    maps, masks, _ = sample(0, 3, 3, 10)
    expected = [
        slow_energy(slow_bilinear(a, 10, 10).clamp(min=0), m)
        for a, m in zip(maps.double(), masks, strict=True)
    ]
    torch.testing.assert_close(energy_in_mask(maps.double(), masks).tolist(), expected)


def test_degenerate_maps_and_masks() -> None:
    zero, negative, one = torch.zeros(4, 4), -torch.ones(4, 4), torch.ones(4, 4)
    pixel = torch.zeros(4, 4)
    pixel[1, 2] = 3.0
    none, full = torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)
    hit = pixel > 0
    maps = torch.stack([zero, negative, one, one, pixel, pixel, one, 1e-13 * one, 1e-30 * one])
    masks = torch.stack([full, full, full, none, hit, ~hit, hit, full, full])
    assert energy_in_mask(maps, masks).tolist() == [0, 0, 1, 0, 1, 0, 1 / 16, 0, 0]


@pytest.mark.parametrize("scale", [1e-9, 1e30])
def test_scale_of_the_map_does_not_matter(scale: float) -> None:
    maps, masks, _ = sample(1, 4)
    torch.testing.assert_close(energy_in_mask(maps * scale, masks), energy_in_mask(maps, masks))


def test_half_precision_is_computed_in_float32() -> None:
    maps, masks, _ = sample(2, 4, 7, 14)
    halves = maps.bfloat16()
    assert torch.equal(energy_in_mask(halves, masks), energy_in_mask(halves.float(), masks))


def test_nan_is_not_hidden() -> None:
    maps, masks, _ = sample(3, 4)
    maps[1, 0, 0] = torch.nan
    metric = EnergyPointingGame()
    metric.update(maps, masks)
    assert energy_in_mask(maps, masks).isnan().tolist() == [False, True, False, False]
    assert metric.compute().isnan()


def test_mean_over_pairs_and_over_each_class() -> None:
    metric = EnergyPointingGame(num_classes=4)
    maps, masks, classes = sample(4, 13, 4, 8)
    for part in (slice(0, 5), slice(5, 5), slice(5, 13)):
        metric.update(maps[part], masks[part], classes[part])
    energy = [slow_energy(a, m) for a, m in zip(positive_evidence(maps.double(), (8, 8)), masks, strict=True)]
    assert float(metric.compute()) == pytest.approx(sum(energy) / 13, rel=1e-6)
    per_class = metric.per_class().tolist()
    for k in range(3):
        own = [e for e, c in zip(energy, classes.tolist(), strict=True) if c == k]
        assert per_class[k] == pytest.approx(sum(own) / len(own), rel=1e-6)
    assert math.isnan(per_class[3])


def test_without_pairs_nothing_is_measured() -> None:
    metric = EnergyPointingGame(num_classes=2)
    metric.update(
        torch.zeros(0, 4, 4), torch.zeros(0, 8, 8, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    )
    assert metric.compute().isnan()
    assert metric.per_class().isnan().all()


def test_reset_forgets() -> None:
    metric = EnergyPointingGame()
    maps, masks, _ = sample(5, 6)
    metric.update(maps, masks)
    metric.reset()
    metric.update(maps[:2], masks[:2])
    torch.testing.assert_close(metric.compute(), energy_in_mask(maps[:2], masks[:2]).double().mean())


def test_sums_stay_exact_in_a_model_cast_to_half_precision() -> None:
    metric = EnergyPointingGame()
    nn.ModuleDict({"epg": metric}).to(torch.bfloat16)
    for _ in range(600):
        metric.update(torch.ones(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))
    assert float(metric.compute()) == 1.0


def test_refuses_what_does_not_fit() -> None:
    maps, masks, classes = sample(6, 3)
    with pytest.raises(ValueError, match="num_classes"):
        EnergyPointingGame().update(maps, masks, classes)
    with pytest.raises(ValueError, match="num_classes"):
        EnergyPointingGame(3).update(maps, masks)
    with pytest.raises(ValueError, match="classes of shape"):
        EnergyPointingGame(3).update(maps, masks, classes[:1])
    with pytest.raises(ValueError, match="num_classes"):
        EnergyPointingGame().per_class()
    with pytest.raises(ValueError, match="3 attributions but 2 masks"):
        energy_in_mask(maps, masks[:2])


def _rank(rank: int) -> dict[str, Tensor]:
    maps, masks, classes = sample(7, 11)
    part = slice(0, 3) if rank == 0 else slice(3, 11)
    metric = EnergyPointingGame(num_classes=4)
    metric.update(maps[part], masks[part], classes[part])
    before = metric.per_class()
    mean = metric.compute()
    return {"mean": mean, "per_class": metric.per_class(), "before": before, "local": metric.pairs.sum()}


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    maps, masks, classes = sample(7, 11)
    metric = EnergyPointingGame(num_classes=4)
    metric.update(maps, masks, classes)
    results = on_two_ranks(_rank, tmp_path)
    for result in results:
        torch.testing.assert_close(result["mean"], metric.compute())
        torch.testing.assert_close(result["per_class"], metric.per_class(), equal_nan=True)
        torch.testing.assert_close(result["before"], metric.per_class(), equal_nan=True)
    assert [int(result["local"]) for result in results] == [3, 8]
