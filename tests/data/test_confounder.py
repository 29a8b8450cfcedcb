import torch
from hypothesis import given
from hypothesis import strategies as st

from guidance.data.confounder import assign_backgrounds


@given(
    st.lists(st.booleans(), max_size=60),
    st.floats(0, 1),
    st.integers(-5, 5),
)
def test_an_exact_part_of_each_class_gets_its_own_background(
    labels: list[bool], strength: float, seed: int
) -> None:
    backgrounds = assign_backgrounds(torch.tensor(labels, dtype=torch.int64), strength, seed).tolist()
    for label in (False, True):
        own = [place for place, other in zip(backgrounds, labels, strict=True) if other == label]
        matched = own.count(int(label))
        assert abs(matched - strength * len(own)) <= 0.5 + 1e-9
        assert set(own) <= {0, 1}


def test_halves_are_as_in_the_released_waterbirds() -> None:
    """Of its 933 landbirds in validation 467 are on land and 466 on water, of the 266 waterbirds 133 each."""
    labels = torch.tensor([0] * 933 + [1] * 266)
    backgrounds = assign_backgrounds(labels, 0.5, 0)
    counts = torch.bincount(2 * labels + backgrounds)
    assert counts.tolist() == [467, 466, 133, 133]


def test_the_choice_depends_on_the_parts_and_on_nothing_else() -> None:
    labels = torch.arange(60) % 2
    first = assign_backgrounds(labels, 0.5, 3, 1)
    assert torch.equal(first, assign_backgrounds(labels, 0.5, 3, 1))
    assert not torch.equal(first, assign_backgrounds(labels, 0.5, 3, 2))
    assert torch.equal(labels, torch.arange(60) % 2)
