"""Fronts and hypervolumes against brute force, and what may not change them."""

import itertools
import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from guidance.pareto import hypervolume, pareto_front
from tests.properties import arrays
from tests.properties.for_all import for_all

FLOATS = st.sampled_from((0.0, -0.0, 0.5, 1.0, math.nan, math.inf, -math.inf)) | st.floats(-1, 1)


def points(values: st.SearchStrategy[float], most: int = 12) -> st.SearchStrategy[Tensor]:
    """Up to ``most`` points of one to four objectives, float64 [n, d]."""
    return st.integers(1, 4).flatmap(
        lambda d: st.lists(st.lists(values, min_size=d, max_size=d), max_size=most).map(
            lambda rows: torch.tensor(rows, dtype=torch.float64).reshape(-1, d)
        )
    )


def beats(one: list[float], other: list[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


@for_all(quick=60, thorough=1000, values=points(FLOATS), seed=arrays.SEEDS)
def test_front(values: Tensor, seed: int) -> None:
    front = pareto_front(values)
    rows = values.tolist()
    expected = [
        not any(map(math.isnan, row)) and not any(beats(other, row) for other in rows) for row in rows
    ]
    assert front.tolist() == expected
    order = arrays.order_of(len(values), seed)
    assert torch.equal(pareto_front(values[order]), front[order])
    columns = arrays.order_of(values.shape[1], seed + 1)
    assert torch.equal(pareto_front(values[:, columns]), front)
    assert torch.equal(pareto_front(torch.cat([values, values])), front.repeat(2))
    assert bool(pareto_front(values[front]).all()), "the front of a front is all of it"
    assert torch.equal(pareto_front(2 * values), front)


@for_all(quick=40, thorough=600, values=points(FLOATS), cut=st.integers(0, 12))
def test_a_front_of_parts_is_the_front(values: Tensor, cut: int) -> None:
    parts = [values[:cut], values[cut:]]
    survivors = torch.cat([part[pareto_front(part)] for part in parts])
    merged = survivors[pareto_front(survivors)]
    assert sorted(map(tuple, merged.tolist())) == sorted(map(tuple, values[pareto_front(values)].tolist()))


WHOLE = st.integers(-1, 4).map(float)


def cells(values: Tensor) -> int:
    """Count the unit cells between 0 and 4 that some point beats."""
    corners = itertools.product(range(4), repeat=values.shape[1])
    rows = values.tolist()
    return sum(
        any(all(v > c for v, c in zip(row, corner, strict=True)) for row in rows) for corner in corners
    )


@for_all(quick=40, thorough=600, values=points(WHOLE, most=7), seed=arrays.SEEDS)
def test_hypervolume(values: Tensor, seed: int) -> None:
    reference = torch.zeros(values.shape[1], dtype=torch.float64)
    # A volume counts only what beats the reference in every objective.
    volume = hypervolume(values, reference)
    assert volume == cells(values[(values > 0).all(dim=1)])
    order = arrays.order_of(len(values), seed)
    assert hypervolume(values[order], reference) == volume
    assert hypervolume(torch.cat([values, values]), reference) == volume
    assert hypervolume(values[pareto_front(values)], reference) == volume
    assert hypervolume(values + 3, reference + 3) == volume
    scale = torch.tensor([2.0, 0.5, 4.0, 8.0], dtype=torch.float64)[: values.shape[1]]
    assert hypervolume(values * scale, reference) == volume * float(scale.prod())
    for count in range(len(values)):
        assert hypervolume(values[:count], reference) <= volume
