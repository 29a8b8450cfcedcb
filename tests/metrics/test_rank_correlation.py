"""Spearman's rank correlation of maps, against scipy."""

import pytest
import torch
from scipy.stats import rankdata, spearmanr

from guidance.metrics.rank_correlation import average_ranks, rank_correlation


def random_maps(seed: int, values: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-values, values + 1, (5, 6, 7), generator=generator).double()


@pytest.mark.parametrize("values", [1, 3, 100000])  # many ties, some, hardly any
def test_scipy_agrees(values: int) -> None:
    first, second = random_maps(0, values), random_maps(1, values)
    second[0] = first[0] ** 3  # the same order
    second[1] = -first[1]
    found = rank_correlation(first, second)
    for i in range(5):
        expected = spearmanr(first[i].flatten().numpy(), second[i].flatten().numpy()).statistic
        assert found[i].item() == pytest.approx(expected, abs=1e-12)
    assert found[:2].tolist() == pytest.approx([1, -1])
    ranks = average_ranks(first.flatten(1))
    assert torch.equal(ranks + 1, torch.from_numpy(rankdata(first.flatten(1).numpy(), axis=1)))


def test_degenerate_maps() -> None:
    maps = random_maps(0, 9)[:3]
    other = maps.clone()
    other[0] = 4.0
    other[1, 2, 2] = torch.nan
    found = rank_correlation(maps, other)
    assert found[0] == 0
    assert found[1].isnan()
    assert found[2] == pytest.approx(1)
    assert rank_correlation(torch.ones(1, 1, 1), torch.ones(1, 1, 1)) == 0
    with pytest.raises(ValueError, match=r"two of \[N, h, w\]"):
        rank_correlation(maps, maps[:2])
