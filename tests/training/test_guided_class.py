"""The class that is guided: present, uniform, and a function of (seed, epoch, image) alone."""

import torch

from guidance.randomness import hash_integers, permutation
from guidance.training.guided_class import draw_guided_class, rows_to_explain


def test_only_guidable_classes_are_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    guidable = torch.rand(200, 7, generator=generator) < 0.3
    classes, guided = draw_guided_class(guidable, 0, 0, torch.arange(200))
    assert torch.equal(guided, guidable.any(1))
    for i in range(200):
        assert not guided[i] or guidable[i, classes[i]]
        assert guided[i] or classes[i] == 0


def test_each_present_class_is_equally_likely() -> None:
    guidable = torch.tensor([[True, False, True, True]]).expand(30_000, 4)
    classes, _ = draw_guided_class(guidable, 3, 5, torch.arange(30_000))
    counts = classes.bincount(minlength=4)
    assert counts[1] == 0
    # Three classes, 10,000 each: the standard deviation is 82.
    assert (counts[[0, 2, 3]] - 10_000).abs().max() < 400


def test_all_classes_present_or_none() -> None:
    everything = torch.ones(50, 3, dtype=torch.bool)
    classes, guided = draw_guided_class(everything, 0, 0, torch.arange(50))
    assert guided.all()
    assert set(classes.tolist()) == {0, 1, 2}
    _, guided = draw_guided_class(~everything, 0, 0, torch.arange(50))
    assert not guided.any()


def test_depends_on_seed_epoch_and_image_and_on_nothing_else() -> None:
    guidable = torch.ones(64, 5, dtype=torch.bool)
    indices = torch.arange(100, 164)
    drawn, _ = draw_guided_class(guidable, 1, 2, indices)
    order = torch.randperm(64)
    shuffled, _ = draw_guided_class(guidable[order], 1, 2, indices[order])
    assert torch.equal(shuffled, drawn[order])
    for other in (
        draw_guided_class(guidable, 2, 2, indices),
        draw_guided_class(guidable, 1, 3, indices),
        draw_guided_class(guidable, 1, 2, indices + 1),
    ):
        assert not torch.equal(other[0], drawn)


def splitmix64(state: int, part: int) -> int:
    """The reference finaliser, in Python integers."""
    mask = (1 << 64) - 1
    z = (state + part + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_hash_equals_the_reference_in_python_integers() -> None:
    for parts in [(0,), (1, 2), (2**40, 7, 123456789), (0, 0, 0)]:
        state = 0
        for part in parts:
            state = splitmix64(state, part)
        assert int(hash_integers(*parts)) == state & ((1 << 63) - 1)
    together = hash_integers(4, torch.arange(5), 9)
    assert together.tolist() == [int(hash_integers(4, i, 9)) for i in range(5)]


def test_permutation_is_one_and_repeats() -> None:
    assert sorted(permutation(100, 1, 2).tolist()) == list(range(100))
    assert torch.equal(permutation(100, 1, 2), permutation(100, 1, 2))
    assert not torch.equal(permutation(100, 1, 2), permutation(100, 1, 3))


def test_rows_to_explain() -> None:
    assert rows_to_explain(torch.tensor([True, True])) == slice(None)
    some, none = (
        rows_to_explain(torch.tensor([False, True, True])),
        rows_to_explain(torch.tensor([False, False])),
    )
    assert isinstance(some, torch.Tensor)
    assert isinstance(none, torch.Tensor)
    assert (some.tolist(), none.tolist()) == ([1, 2], [0])
