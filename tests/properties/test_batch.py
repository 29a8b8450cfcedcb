"""A batch: what is asked of it does not depend on the order of images, boxes and classes."""

from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from guidance.data import Batch
from guidance.data.runs import encode_runs
from guidance.training.guided_class import draw_guided_class, nth_class, rows_to_explain
from tests.properties import arrays
from tests.properties.for_all import for_all

CLASSES = 3


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Batches of one to four images of a few pixels, with boxes and masks of any of three classes."""
    count = draw(st.integers(1, 4))
    size = (draw(arrays.SIDES), draw(arrays.SIDES))
    boxes = draw(arrays.boxes(size, most=6))
    generator = torch.Generator().manual_seed(draw(arrays.SEEDS))
    masks = draw(arrays.masks(draw(st.integers(0, 3)), size))
    runs, owners = encode_runs(masks)

    def some(limit: int, length: int) -> Tensor:
        return torch.randint(limit, (length,), generator=generator)

    mask_images, mask_classes = some(count, len(masks)), some(CLASSES, len(masks))
    return Batch(
        images=torch.zeros(count, 3, *size, dtype=torch.uint8),
        labels=some(2, count * CLASSES).bool().reshape(count, CLASSES),
        boxes=boxes,
        box_images=some(count, len(boxes)),
        box_classes=some(CLASSES, len(boxes)),
        runs=runs,
        run_images=mask_images[owners],
        run_classes=mask_classes[owners],
        annotated=some(2, count).bool(),
        outside=some(2, count).bool(),
        groups=torch.full((count,), -1),
        indices=some(1000, count),
        target=draw(st.sampled_from(("box", "mask"))),
    )


def rearranged(batch: Batch, images: Tensor, entries: Tensor, classes: Tensor) -> Batch:
    """The batch with its images, its boxes and the numbers of its classes in another order."""
    place_of_image, place_of_class = images.argsort(), classes.argsort()
    return replace(
        batch,
        images=batch.images[images],
        labels=batch.labels[images][:, classes],
        boxes=batch.boxes[entries],
        box_images=place_of_image[batch.box_images[entries]],
        box_classes=place_of_class[batch.box_classes[entries]],
        run_images=place_of_image[batch.run_images],
        run_classes=place_of_class[batch.run_classes],
        annotated=batch.annotated[images],
        outside=batch.outside[images],
        indices=batch.indices[images],
    )


def all_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    return torch.arange(len(batch)).repeat_interleave(CLASSES), torch.arange(CLASSES).repeat(len(batch))


@for_all(quick=20, thorough=300, batch=batches(), seed=arrays.SEEDS)
def test_order_of_images_boxes_and_classes(batch: Batch, seed: int) -> None:
    images, classes = arrays.order_of(len(batch), seed), arrays.order_of(CLASSES, seed + 1)
    other = rearranged(batch, images, arrays.order_of(len(batch.boxes), seed + 2), classes)
    assert torch.equal(other.guidable(), batch.guidable()[images][:, classes])
    rows, columns = all_pairs(batch)
    assert torch.equal(other.masks(rows, columns), batch.masks(images[rows], classes[columns]))
    assert torch.equal(other.object_masks(rows, columns), batch.object_masks(images[rows], classes[columns]))


@for_all(quick=20, thorough=300, batch=batches(), seed=arrays.SEEDS)
def test_one_class_per_image_is_drawn_as_any_pairs_are(batch: Batch, seed: int) -> None:
    classes = torch.randint(CLASSES, (len(batch),), generator=torch.Generator().manual_seed(seed))
    draw = batch.masks if batch.target == "box" else batch.object_masks
    assert torch.equal(batch.class_masks(classes), draw(torch.arange(len(batch)), classes))


@for_all(quick=20, thorough=300, batch=batches())
def test_a_box_that_is_there_twice_changes_nothing(batch: Batch) -> None:
    twice = replace(
        batch,
        boxes=torch.cat([batch.boxes, batch.boxes]),
        box_images=torch.cat([batch.box_images, batch.box_images]),
        box_classes=torch.cat([batch.box_classes, batch.box_classes]),
    )
    rows, columns = all_pairs(batch)
    assert torch.equal(twice.masks(rows, columns), batch.masks(rows, columns))
    assert torch.equal(twice.guidable(), batch.guidable())


@for_all(quick=20, thorough=300, batch=batches(), seed=arrays.SEEDS, epoch=st.integers(0, 10**6))
def test_the_class_drawn_is_guidable_and_the_image_s_own(batch: Batch, seed: int, epoch: int) -> None:
    guidable = batch.guidable()
    drawn, guided = draw_guided_class(guidable, seed, epoch, batch.indices)
    assert torch.equal(guided, guidable.any(dim=1))
    assert bool(guidable[guided, drawn[guided]].all())
    order = arrays.order_of(len(batch), seed)
    again, _ = draw_guided_class(guidable[order], seed, epoch, batch.indices[order])
    assert torch.equal(again, drawn[order])
    rows = rows_to_explain(guided)
    explained = torch.zeros(len(batch), dtype=torch.bool)
    explained[rows] = True
    assert bool((explained | ~guided).all())
    assert bool(explained.any())


@for_all(quick=20, thorough=300, batch=batches())
def test_taking_each_guidable_class_in_turn_takes_each_once(batch: Batch) -> None:
    guidable = batch.guidable()
    taken = torch.zeros_like(guidable, dtype=torch.int64)
    for number in range(CLASSES + 1):
        classes, some = nth_class(guidable, number)
        taken[some, classes[some]] += 1
    assert torch.equal(taken, guidable.long())
