"""The hypervolume against inclusion and exclusion, Monte Carlo, known volumes, and degenerate fronts."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.pareto import hypervolume


def by_inclusion_and_exclusion(points: Tensor, reference: Tensor) -> float:
    """Sum over all subsets of the signed volume of what all of a subset's points beat."""
    total = 0.0
    boxes = (points.double() - reference.double()).clamp(min=0)
    for size in range(1, len(boxes) + 1):
        for subset in combinations(range(len(boxes)), size):
            total -= (-1) ** size * float(boxes[list(subset)].amin(dim=0).prod())
    return total


coordinates = st.sampled_from([-0.5, 0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0, 2.0])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda d: st.lists(st.lists(coordinates, min_size=d, max_size=d), min_size=1, max_size=6)
    )
)
def test_equals_inclusion_and_exclusion(points: list[list[float]]) -> None:
    values = torch.tensor(points, dtype=torch.float64)
    for reference in (torch.zeros(values.shape[1]), torch.full((values.shape[1],), 0.2)):
        expected = by_inclusion_and_exclusion(values, reference)
        assert hypervolume(values, reference) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("objectives", [2, 3])
def test_agrees_with_monte_carlo(objectives: int) -> None:
    generator = torch.Generator().manual_seed(objectives)
    points = torch.rand(40, objectives, generator=generator, dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True)  # a curved front, no point of which is beaten
    samples = torch.rand(200_000, objectives, generator=generator, dtype=torch.float64)
    beaten = torch.zeros(len(samples), dtype=torch.bool)
    for point in points:
        beaten |= (samples < point).all(dim=1)
    share = float(beaten.double().mean())
    error = (share * (1 - share) / len(samples)) ** 0.5
    assert hypervolume(points, torch.zeros(objectives)) == pytest.approx(share, abs=5 * error)


def test_volumes_known_by_hand() -> None:
    stairs = torch.tensor([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    assert hypervolume(stairs, torch.zeros(2)) == 6
    assert hypervolume(stairs, torch.tensor([1.0, 1.0])) == 1
    cross = torch.tensor([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    assert hypervolume(cross, torch.zeros(3)) == 4
    assert hypervolume(torch.tensor([[0.8, 0.5, 0.25]]), torch.zeros(3)) == pytest.approx(0.1)


def test_beaten_points_copies_and_order_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(12, 3, generator=generator, dtype=torch.float64)
    reference = torch.full((3,), 0.1)
    volume = hypervolume(points, reference)
    more = torch.cat([points, points[:3], 0.5 * points])[torch.randperm(27, generator=generator)]
    assert hypervolume(more, reference) == pytest.approx(volume, rel=1e-14)


def test_a_point_that_beats_none_adds_and_one_that_is_beaten_does_not() -> None:
    points = torch.tensor([[0.5, 0.5, 0.5]])
    volume = hypervolume(points, torch.zeros(3))
    assert hypervolume(torch.cat([points, torch.tensor([[0.6, 0.1, 0.1]])]), torch.zeros(3)) > volume
    assert hypervolume(torch.cat([points, torch.tensor([[0.5, 0.1, 0.1]])]), torch.zeros(3)) == volume


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(0, 3),
        torch.tensor([[0.0, 1.0, 1.0]]),
        torch.tensor([[-1.0, -1.0, -1.0]]),
        torch.tensor([[float("nan"), 1.0, 1.0]]),
    ],
    ids=["none", "on the reference", "below it", "nan"],
)
def test_nothing_is_beaten(points: Tensor) -> None:
    assert hypervolume(points, torch.zeros(3)) == 0


def test_float32_and_integers_are_computed_in_float64() -> None:
    assert hypervolume(torch.tensor([[1, 2, 3]]), torch.tensor([0, 0, 0])) == 6
    assert hypervolume(torch.tensor([[1e-20, 1e-20, 1e-20]]), torch.zeros(3)) == pytest.approx(1e-60)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\[n, d\] and the reference \[d\]"):
        hypervolume(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"\[n, d\] and the reference \[d\]"):
        hypervolume(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        hypervolume(torch.zeros(3, 2), torch.tensor([0.0, float("-inf")]))
