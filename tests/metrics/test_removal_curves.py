"""The order in which a map removes pixels, and areas under curves."""

import numpy as np
import pytest
import torch

from guidance.metrics.removal_curves import area_under, removal_ranks


def test_ranks_by_hand() -> None:
    maps = torch.tensor([[[0.5, -1.0, 3.0], [2.0, 0.0, -2.0]]])
    assert removal_ranks(maps, (2, 3), most_first=True).tolist() == [[[2, 4, 0], [1, 3, 5]]]
    assert removal_ranks(maps, (2, 3), most_first=False).tolist() == [[[3, 1, 5], [4, 2, 0]]]


def test_ranks_sort_the_upsampled_map() -> None:
    maps = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    ranks = removal_ranks(maps, (8, 8), most_first=True)
    values = torch.nn.functional.interpolate(maps[:, None], (8, 8), mode="bilinear")[:, 0].flatten(1)
    for own, value in zip(ranks.flatten(1), values, strict=True):
        assert sorted(own.tolist()) == list(range(64))
        in_order = value[own.argsort()]
        assert (in_order[:-1] >= in_order[1:]).all()


def test_equal_pixels_come_in_a_random_order_of_their_own() -> None:
    maps = torch.zeros(2, 10, 10)
    maps[:, 0, 0] = 1
    maps[1, 5, 5] = torch.nan  # says nothing
    most, least = (removal_ranks(maps, (10, 10), first, seed=3) for first in (True, False))
    assert most[:, 0, 0].eq(0).all()
    assert least[:, 0, 0].eq(99).all()
    assert torch.equal(most[0], most[1])
    rows = most[0].flatten().argsort()[1:51] // 10  # which rows the first half lies in
    assert len(rows.unique()) == 10
    assert not torch.equal(most, removal_ranks(maps, (10, 10), True, seed=4))


def test_areas() -> None:
    curves = torch.rand(4, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = np.trapezoid(curves.numpy(), np.linspace(0, 1, 9), axis=-1)
    assert torch.allclose(area_under(curves), torch.from_numpy(expected))
    assert area_under(torch.tensor([1.0, 0.0])).item() == pytest.approx(0.5)
    assert area_under(torch.ones(2, 5)).tolist() == pytest.approx([1, 1])
