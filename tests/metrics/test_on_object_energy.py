import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.metrics import OnObjectEnergy, on_object_energy
from tests.two_ranks import on_two_ranks


def pairs(seed: int, count: int, size: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, size, size, generator=generator)
    boxes = torch.rand(count, size, size, generator=generator) > 0.4
    objects = torch.rand(count, size, size, generator=generator) > 0.5
    return maps, boxes, objects


def slow(attribution: Tensor, box: Tensor, mask: Tensor) -> float:
    inside = on_object = 0.0
    for y in range(attribution.shape[0]):
        for x in range(attribution.shape[1]):
            energy = max(float(attribution[y, x]), 0.0)
            inside += energy * bool(box[y, x])
            on_object += energy * bool(box[y, x] and mask[y, x])
    return on_object / inside if inside > 0 else 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_equals_counting_every_pixel(seed: int, count: int) -> None:
    maps, boxes, objects = pairs(seed, count)
    expected = [slow(*row) for row in zip(maps, boxes, objects, strict=True)]
    assert on_object_energy(maps, boxes, objects).tolist() == pytest.approx(expected, abs=1e-5)
    metric = OnObjectEnergy()
    metric.update(maps[:1], boxes[:1], objects[:1])
    metric.update(maps[1:], boxes[1:], objects[1:])
    assert float(metric.compute()) == pytest.approx(sum(expected) / count, abs=1e-5)


def test_degenerate_pairs_score_nothing_or_everything() -> None:
    ones, full = torch.ones(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    assert on_object_energy(ones, full, full).item() == pytest.approx(1)
    assert on_object_energy(ones, full, ~full).item() == 0
    assert on_object_energy(ones, ~full, full).item() == 0
    assert on_object_energy(-ones, full, full).item() == 0
    assert on_object_energy(torch.zeros(1, 4, 4), full, full).item() == 0


def test_no_pair_is_nothing_measured() -> None:
    metric = OnObjectEnergy()
    metric.update(torch.zeros(0, 1, 1), torch.zeros(0, 4, 4).bool(), torch.zeros(0, 4, 4).bool())
    assert math.isnan(metric.compute())


def _rank(rank: int) -> Tensor:
    metric = OnObjectEnergy()
    own = slice(0, 3) if rank == 0 else slice(3, None)
    metric.update(*(tensor[own] for tensor in pairs(2, 7)))
    return metric.compute()


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    metric = OnObjectEnergy()
    metric.update(*pairs(2, 7))
    for found in on_two_ranks(_rank, tmp_path):
        assert float(found) == pytest.approx(float(metric.compute()), rel=1e-12)
