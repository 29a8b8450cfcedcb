import pytest
import torch

from guidance.data import PreparedDataset, Shapes
from guidance.explain.sources import images_of_split
from guidance.explain.subject import Subject


def subject(outside: bool = False) -> Subject:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 5, 40, 20], [30, 0, 40, 20]])
    image = torch.zeros(3, 20, 40, dtype=torch.uint8)
    return Subject("a", lambda _: image, (20, 40), boxes, ("dog", "", "cat"), outside)


def test_masks_by_hand() -> None:
    """40 x 20 pixels squashed to 4 x 4: a column is 10 pixels wide, a row 5 high."""
    dog, cat = subject().masks(["dog", "cat"], 4).long().tolist()
    assert dog == [[1, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert cat == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_a_box_without_a_name_counts_for_every_class() -> None:
    assert subject().boxes_of("dog").tolist() == [True, True, False]
    assert subject().boxed(["cow"]) == [True]


def test_outside_turns_masks_that_are_not_empty() -> None:
    assert torch.equal(subject(outside=True).masks(["dog"], 4), ~subject().masks(["dog"], 4))
    none = Subject("a", subject().read, (20, 40), torch.zeros(0, 4), (), outside=True)
    assert not none.masks(["dog"], 4).any()
    assert none.boxed(["dog"]) == [False]


def test_pictures_keep_the_proportions() -> None:
    big = Subject(
        "a", lambda _: torch.zeros(3, 600, 1200, dtype=torch.uint8), (600, 1200), torch.zeros(0, 4), ()
    )
    assert big.shown().shape == (3, 240, 480)
    assert subject().shown().shape == (3, 20, 40)


@pytest.mark.parametrize("side", [64, 32])
def test_a_split_is_read_as_evaluation_reads_it(side: int) -> None:
    dataset = Shapes("test", image_size=64, length={"train": 1, "val": 1, "test": 6})
    source = images_of_split(dataset, 3, seed=0)
    prepared = PreparedDataset(dataset, side)
    assert len(source.names) == 3
    for position, name in enumerate(source.names):
        found, index = source.make(position), int(name.removeprefix("test-"))
        batch = prepared.__getitems__([index])
        assert torch.equal(found.squashed(side), batch.images[0])
        expected = batch.masks(torch.zeros(6, dtype=torch.int64), torch.arange(6))
        assert torch.equal(found.masks(dataset.classes, side), expected)
