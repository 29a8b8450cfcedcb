from dataclasses import replace

import pytest
import torch
from torch import Tensor

from guidance.data import Batch
from guidance.data.batch import Target


def make_batch() -> Batch:
    """Image 0: two boxes of class 1, one of class 0; image 1: class 2 without a box; image 2: nothing.

    Masks: class 1 of image 0 and class 2 of image 1.
    """
    return Batch(
        images=torch.zeros(3, 3, 6, 8, dtype=torch.uint8),
        labels=torch.tensor([[True, True, False], [False, False, True], [False, False, False]]),
        boxes=torch.tensor([[0, 0, 2, 2], [1, 1, 4, 3], [7, 5, 8, 6]]),
        box_images=torch.tensor([0, 0, 0]),
        box_classes=torch.tensor([1, 1, 0]),
        runs=torch.tensor([[0, 2], [8, 10], [47, 48]]),
        run_images=torch.tensor([0, 0, 1]),
        run_classes=torch.tensor([1, 1, 2]),
        annotated=torch.tensor([True, True, False]),
        outside=torch.tensor([False, False, False]),
        groups=torch.tensor([-1, -1, -1]),
        indices=torch.tensor([5, 6, 7]),
    )


def test_masks_are_the_unions_of_a_pairs_own_boxes() -> None:
    batch = make_batch()
    masks = batch.masks(torch.tensor([0, 1, 0, 0]), torch.tensor([0, 2, 1, 2]))
    expected = torch.zeros(4, 6, 8, dtype=torch.bool)
    expected[0, 5, 7] = True
    expected[2, 0:2, 0:2] = True
    expected[2, 1:3, 1:4] = True
    assert torch.equal(masks, expected)


def test_a_pair_may_be_asked_for_twice_or_not_at_all() -> None:
    batch = make_batch()
    masks = batch.masks(torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert torch.equal(masks[0], masks[1])
    assert masks[0].sum() == 4 + 6 - 1
    none = torch.zeros(0, dtype=torch.int64)
    assert batch.masks(none, none).shape == (0, 6, 8)


def test_masks_of_one_class_per_image_are_those_of_the_pairs() -> None:
    batch = make_batch()
    for classes in torch.cartesian_prod(*[torch.arange(3)] * 3):
        assert torch.equal(batch.class_masks(classes), batch.masks(torch.arange(3), classes))
    batch.boxes = torch.zeros(0, 4, dtype=torch.int64)
    batch.box_images = batch.box_classes = torch.zeros(0, dtype=torch.int64)
    assert not batch.class_masks(torch.zeros(3, dtype=torch.int64)).any()


def test_masks_without_any_box() -> None:
    batch = make_batch()
    batch.boxes = torch.zeros(0, 4, dtype=torch.int64)
    batch.box_images = batch.box_classes = torch.zeros(0, dtype=torch.int64)
    assert not batch.masks(torch.tensor([0, 1]), torch.tensor([1, 2])).any()
    assert not batch.has_boxes().any()
    assert not batch.guidable().any()


def test_only_present_boxed_classes_of_annotated_images_are_guidable() -> None:
    batch = make_batch()
    expected = torch.tensor([[True, True, False], [False, False, False], [False, False, False]])
    assert torch.equal(batch.has_boxes(), expected)
    assert torch.equal(batch.guidable(), expected)
    batch.annotated[0] = False
    assert torch.equal(batch.has_boxes(), expected)
    assert not batch.guidable().any()


def test_a_box_of_an_absent_class_does_not_count() -> None:
    batch = make_batch()
    batch.labels[0, 1] = False
    assert batch.has_boxes()[0].tolist() == [True, False, False]


def test_all_classes_present() -> None:
    batch = make_batch()
    batch.labels[:] = True
    assert batch.has_boxes()[0].tolist() == [True, True, False]
    assert not batch.has_boxes()[1:].any()


def test_moving_keeps_every_field() -> None:
    batch = make_batch()
    moved = batch.to("meta")
    assert len(moved) == len(batch) == 3
    assert all(value.device.type == "meta" for value in vars(moved).values() if isinstance(value, Tensor))
    assert list(vars(moved)) == list(vars(batch))
    assert replace(batch, target="mask").to("cpu").target == "mask"


def test_object_masks_are_the_runs_of_the_pair() -> None:
    batch = make_batch()
    masks = batch.object_masks(torch.tensor([0, 1, 0]), torch.tensor([1, 2, 0]))
    expected = torch.zeros(3, 6, 8, dtype=torch.bool)
    expected[0, 0:2, 0:2] = True
    expected[1, 5, 7] = True
    assert torch.equal(masks, expected)
    assert batch.has_masks().tolist() == [[False, True, False], [False, False, True], [False, False, False]]


def test_with_masks_as_the_target_only_what_has_a_mask_is_guidable() -> None:
    batch = replace(make_batch(), target="mask")
    assert torch.equal(batch.guidable(), batch.has_masks())
    for classes in torch.cartesian_prod(*[torch.arange(3)] * 3):
        assert torch.equal(batch.class_masks(classes), batch.object_masks(torch.arange(3), classes))
    batch.annotated[:] = False
    assert not batch.guidable().any()


@pytest.mark.parametrize("target", ["box", "mask"])
def test_outside_turns_the_masks_of_pairs_that_have_one(target: Target) -> None:
    inside = replace(make_batch(), target=target)
    outside = replace(inside, outside=torch.tensor([True, False, True]))
    images, classes = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 2, 0])
    for draw in (Batch.masks, Batch.object_masks):
        plain, turned = draw(inside, images, classes), draw(outside, images, classes)
        assert torch.equal(turned[0], ~plain[0])
        assert torch.equal(turned[1:], plain[1:])
    chosen = torch.tensor([1, 2, 0])
    plain, turned = inside.class_masks(chosen), outside.class_masks(chosen)
    assert torch.equal(turned[0], ~plain[0])
    assert torch.equal(turned[1:], plain[1:])
