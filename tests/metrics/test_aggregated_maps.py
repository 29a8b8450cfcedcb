"""Bins, order and means of AggAtt, against cases worked out by hand and a slow version."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from guidance.metrics.aggregated_maps import BIN_EDGES, aggregate_maps, best_first, bin_bounds


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (100, [2, 3, 45, 45, 3, 2]),
        (500, [10, 15, 225, 225, 15, 10]),
        (10, [1, 0, 4, 4, 0, 1]),
        (3, [1, 0, 0, 1, 0, 1]),
        (2, [1, 0, 0, 0, 0, 1]),
        (1, [1, 0, 0, 0, 0, 0]),
        (0, [0, 0, 0, 0, 0, 0]),
        (30, [1, 1, 13, 13, 1, 1]),
    ],
)
def test_bins(count: int, sizes: list[int]) -> None:
    assert [end - first for first, end in bin_bounds(count)] == sizes


@pytest.mark.parametrize("count", range(0, 400, 7))
def test_every_map_is_in_exactly_one_bin(count: int) -> None:
    numbers = [number for first, end in bin_bounds(count) for number in range(first, end)]
    assert numbers == list(range(count))


def test_order() -> None:
    scores = torch.tensor([0.5, 0.9, 0.5, torch.nan, 0.0, 0.5])
    energies = torch.tensor([1.0, 0.1, 3.0, 9.0, 0.0, 1.0])
    assert best_first(scores, energies).tolist() == [1, 2, 0, 5, 4, 3]


def test_means_are_those_of_a_slow_version() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(73, 4, 6, generator=generator, dtype=torch.float64)
    scores = torch.randint(0, 12, (73,), generator=generator).double()  # with many ties
    energies = torch.rand(73, generator=generator)
    asked: list[int] = []

    def read(numbers: Sequence[int]) -> Tensor:
        asked.append(len(numbers))
        return maps[list(numbers)]

    means = aggregate_maps(read, scores, energies, chunk=8)
    order = sorted(range(73), key=lambda i: (-float(scores[i]), -float(energies[i])))
    for number, (first, end) in enumerate(bin_bounds(73)):
        total = torch.zeros(4, 6, dtype=torch.float64)
        for position in order[first:end]:
            total += maps[position]
        assert torch.allclose(means[number], total / (end - first), atol=1e-12)
    assert max(asked) <= 8


def test_fewer_maps_than_bins() -> None:
    maps = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])
    means = aggregate_maps(lambda numbers: maps[list(numbers)], torch.tensor([0.1, 0.9]), torch.zeros(2))
    assert means.shape == (len(BIN_EDGES) - 1, 2, 2)
    assert means[0].eq(1).all()
    assert means[5].eq(0).all()
    assert means[1:5].isnan().all()
