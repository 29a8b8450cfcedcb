"""Grids of distinct classes, no image twice."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.errors import InputError
from guidance.protocols.candidates import Candidates
from guidance.protocols.drawing import draw_grids, most_grids


def candidates(*counts: int) -> Candidates:
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)], dtype=torch.int64)
    confidences = torch.linspace(0.5, 1, len(labels), dtype=torch.float64)
    return Candidates(torch.arange(len(labels)) * 10, labels, confidences)


def names(count: int) -> list[str]:
    return [f"class{k}" for k in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=4, max_size=7), st.integers(0, 3), st.booleans())
def test_as_many_grids_as_possible_are_drawn_and_they_are_valid(
    counts: list[int], seed: int, most_confident: bool
) -> None:
    found = candidates(*counts)
    possible = most_grids(torch.tensor(counts), 2)
    grids = draw_grids(found, 2, possible, seed, most_confident, names(len(counts)))
    assert grids.shape == (possible, 4)
    assert grids.unique().numel() == grids.numel()
    for grid in grids:
        assert found.labels[grid].unique().numel() == 4
    with pytest.raises(InputError, match=f"enough for {possible}"):
        draw_grids(found, 2, possible + 1, seed, most_confident, names(len(counts)))


def test_most_grids_against_trying_everything() -> None:
    def tried(counts: tuple[int, ...]) -> int:
        largest = sorted(counts, reverse=True)  # always taking the fullest classes is best
        grids = 0
        while largest[3] > 0:
            largest = sorted([count - (i < 4) for i, count in enumerate(largest)], reverse=True)
            grids += 1
        return grids

    for counts in product(range(4), repeat=5):
        assert most_grids(torch.tensor(counts), 2) == tried(counts)


def test_three_by_three() -> None:
    grids = draw_grids(candidates(*[3] * 10), 3, 3, 0, False, names(10))
    assert grids.shape == (3, 9)
    assert not most_grids(torch.tensor([5] * 8), 3)


def test_the_seed_decides_and_places_and_classes_vary() -> None:
    found = candidates(*[20] * 8)
    draw = [draw_grids(found, 2, 30, seed, False, names(8)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    labels = found.labels[draw[0]]
    assert all(labels[:, cell].unique().numel() >= 7 for cell in range(4))
    assert labels.flatten().bincount().min() >= 8  # of 120 cells, each of 8 classes has about 15


def test_the_most_confident_come_first() -> None:
    found = candidates(10, 10, 10, 10)
    grids = draw_grids(found, 2, 3, 0, True, names(4))
    for k in range(4):
        of_class = (found.labels == k).nonzero().flatten()
        used = [int(p) for grid in grids for p in grid if found.labels[p] == k]
        assert used == of_class.flip(0)[:3].tolist()  # confidence rises with the position


def test_too_few_images_tells_how_many_there_are_of_each_class() -> None:
    message = (
        r"too few images qualify for 5 grids of 4 distinct classes; they are enough for 2. .*: "
        r"class1 9, class3 4, class0 3, class4 2; none of 1 other classes. Remedy: set protocol.grids=2"
    )
    with pytest.raises(InputError, match=message):
        draw_grids(candidates(3, 9, 0, 4, 2), 2, 5, 0, False, names(5))
    with pytest.raises(InputError, match=r"enough for 0. .*: none; none of 5 other classes"):
        draw_grids(candidates(), 2, 1, 0, False, names(5))
    with pytest.raises(InputError, match="and 30 classes more"):
        draw_grids(candidates(*[1] * 50), 2, 20, 0, False, names(50))
