import math
from itertools import pairwise

import pytest
import torch

from guidance.data.splits import annotated_subset, seeded_split
from guidance.errors import InputError
from guidance.randomness import permutation


def test_smaller_subsets_lie_within_larger_ones() -> None:
    fractions = [0.0, 0.001, 0.01, 0.1, 0.5, 0.999, 1.0]
    subsets = [annotated_subset(500, fraction, seed=3) for fraction in fractions]
    assert [int(subset.sum()) for subset in subsets] == [0, 1, 5, 50, 250, 500, 500]
    for smaller, larger in pairwise(subsets):
        assert not (smaller & ~larger).any()


def test_a_tiny_fraction_still_annotates_an_image() -> None:
    assert annotated_subset(10, 1e-9, seed=0).sum() == 1
    assert annotated_subset(0, 0.5, seed=0).shape == (0,)


def test_the_subset_depends_on_the_seed_alone() -> None:
    assert torch.equal(annotated_subset(100, 0.3, 1), annotated_subset(100, 0.3, 1))
    assert not torch.equal(annotated_subset(100, 0.3, 1), annotated_subset(100, 0.3, 2))


def test_the_annotated_images_are_not_the_first_of_an_epoch() -> None:
    annotated = annotated_subset(1000, 0.1, seed=0).nonzero().flatten().tolist()
    for epoch in range(3):
        assert set(annotated) != set(permutation(1000, 0, epoch)[:100].tolist())


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_an_impossible_fraction_is_named(fraction: float) -> None:
    with pytest.raises(InputError, match=r"data\.annotated_fraction"):
        annotated_subset(10, fraction, seed=0)
    with pytest.raises(InputError, match="fraction"):
        seeded_split(10, fraction, seed=0)


def test_a_seeded_split_never_changes() -> None:
    assert seeded_split(12, 0.75, seed=0)[1].tolist() == [0, 1, 6]
    assert seeded_split(82783, 0.9, seed=0)[1][:5].tolist() == [6, 12, 22, 35, 64]


@pytest.mark.parametrize(("length", "fraction"), [(0, 0.5), (1, 0.9), (10, 0.0), (10, 1.0), (103, 0.9)])
def test_a_seeded_split_is_a_partition(length: int, fraction: float) -> None:
    first, second = seeded_split(length, fraction, seed=0)
    assert len(first) == round(length * fraction)
    assert sorted(first.tolist() + second.tolist()) == list(range(length))
    assert first.tolist() == sorted(first.tolist())
    assert second.tolist() == sorted(second.tolist())
