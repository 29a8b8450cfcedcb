"""What is drawn at random is a function of seed, epoch and image, however images are split over processes."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from guidance.data.augmentation import Augmentation
from guidance.data.runs import encode_runs
from guidance.data.sampler import EvaluationSampler, TrainingBatchSampler
from guidance.data.splits import annotated_subset, seeded_split
from guidance.randomness import hash_integers, permutation
from tests.properties import arrays
from tests.properties.for_all import for_all
from tests.properties.test_boxes import drawn, mirrored

LENGTHS = st.integers(1, 60)
FRACTIONS = st.sampled_from((0.0, 0.01, 0.1, 0.5, 1.0)) | st.floats(0, 1)


@for_all(quick=20, thorough=300, length=LENGTHS, fractions=st.tuples(FRACTIONS, FRACTIONS), seed=arrays.SEEDS)
def test_annotated_images_of_a_smaller_fraction_are_among_those_of_a_larger(
    length: int, fractions: tuple[float, float], seed: int
) -> None:
    less, more = (annotated_subset(length, fraction, seed) for fraction in sorted(fractions))
    assert bool((more | ~less).all())
    for fraction, chosen in zip(sorted(fractions), (less, more), strict=True):
        assert int(chosen.sum()) == (max(1, round(fraction * length)) if fraction else 0)


@for_all(quick=20, thorough=300, length=LENGTHS, fraction=FRACTIONS, seed=arrays.SEEDS)
def test_a_split_shares_nothing_and_loses_nothing(length: int, fraction: float, seed: int) -> None:
    first, second = seeded_split(length, fraction, seed)
    assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(length))
    assert len(first) == round(fraction * length)


@for_all(
    quick=20,
    thorough=350,
    length=st.integers(4, 40),
    batch=st.integers(4, 12),
    world=st.integers(1, 4),
    start=st.tuples(st.integers(0, 2), st.integers(0, 9)),
    seed=arrays.SEEDS,
)
def test_processes_and_resumed_runs_see_the_batches_of_one_uninterrupted(
    length: int, batch: int, world: int, start: tuple[int, int], seed: int
) -> None:
    def epoch_of(epoch: int, **options: int) -> list[list[tuple[int, int]]]:
        sampler = TrainingBatchSampler(length, batch, seed, **options)
        sampler.set_epoch(epoch)
        return list(sampler)

    epoch, begin = start
    whole = epoch_of(epoch)
    assert sorted(index for part in whole for _, index in part) == list(range(length))
    ranks = [epoch_of(epoch, rank=rank, world_size=world) for rank in range(world)]
    together = [[item for part in parts for item in part] for parts in zip(*ranks, strict=True)]
    assert together == (whole if len(whole[-1]) >= world else whole[:-1])
    begin = min(begin, len(whole) - 1)
    assert epoch_of(epoch, start_epoch=epoch, start_batch=begin) == whole[begin:]
    assert epoch_of(epoch + 1, start_epoch=epoch, start_batch=begin) == epoch_of(epoch + 1)
    shares = [list(EvaluationSampler(length, rank, world)) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(length))


@for_all(quick=20, thorough=300, length=LENGTHS, seed=arrays.SEEDS, epoch=st.integers(0, 2**40))
def test_draws_depend_on_nothing_else(length: int, seed: int, epoch: int) -> None:
    indices = torch.arange(length)
    together = hash_integers(seed, epoch, indices)
    assert together.tolist() == [int(hash_integers(seed, epoch, index)) for index in range(length)]
    assert bool((together >= 0).all())
    state = torch.get_rng_state()
    order = permutation(length, seed, epoch)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(order.sort().values, indices)


SIZES = st.tuples(st.integers(2, 24), st.integers(2, 24))


@st.composite
def annotated_images(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """An image whose red channel tells each pixel's number, its boxes, and their classes."""
    size = draw(SIZES)
    boxes = draw(arrays.boxes(size, most=4))
    classes = torch.tensor([draw(st.integers(0, 2)) for _ in range(len(boxes))], dtype=torch.int64)
    image = torch.arange(size[0] * size[1]).remainder(256).to(torch.uint8).reshape(1, *size).repeat(3, 1, 1)
    return image, boxes, classes


@for_all(
    quick=20,
    thorough=350,
    given=annotated_images(),
    least=st.floats(0.05, 1),
    visible=st.floats(0, 1),
    seed=arrays.SEEDS,
)
def test_a_crop_keeps_image_boxes_and_masks_together(
    given: tuple[Tensor, Tensor, Tensor], least: float, visible: float, seed: int
) -> None:
    image, boxes, classes = given
    size = (image.shape[1], image.shape[2])
    augmentation = Augmentation(crop=least, min_visible=visible, seed=seed)
    masks = torch.stack([drawn(boxes, size), torch.ones(size, dtype=torch.bool)])

    def crop() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return augmentation.crop(image, boxes.double(), classes, masks, augmentation.generator(3, 5))

    cut, kept, kept_classes, cut_masks = crop()
    for again, once in zip(crop(), (cut, kept, kept_classes, cut_masks), strict=True):
        assert torch.equal(again, once)
    assert set(kept_classes.tolist()) == set(classes.tolist()), "labels stay true"
    height, width = cut.shape[1:]
    assert cut_masks.shape == (2, height, width)
    assert bool(cut_masks[1].all()), "nothing from beyond the image"
    assert bool((kept[:, 2:] > kept[:, :2]).all())
    assert bool((kept >= 0).all())
    assert bool((kept[:, 2:] <= torch.tensor([width, height])).all())
    of_kept = drawn(kept.long(), (height, width))
    assert bool((cut_masks[0] | ~of_kept).all())
    if visible == 0 or len(kept) == len(boxes):
        assert torch.equal(of_kept, cut_masks[0])


@for_all(quick=20, thorough=300, given=annotated_images(), seed=arrays.SEEDS)
def test_a_flip_mirrors_image_boxes_and_masks(given: tuple[Tensor, Tensor, Tensor], seed: int) -> None:
    image, boxes, _ = given
    size = (image.shape[1], image.shape[2])
    masks = drawn(boxes, size)[None]
    flipping = Augmentation(flip=1.0, seed=seed)
    once = flipping.flip_and_jitter(image, boxes, masks, flipping.generator(0, 0))
    assert torch.equal(once[0], image.flip(2))
    assert torch.equal(once[1], mirrored(boxes, size[1]))
    assert torch.equal(once[2][0], drawn(once[1], size))
    twice = flipping.flip_and_jitter(*once, flipping.generator(1, 0))
    for found, expected in zip(twice, (image, boxes, masks), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(encode_runs(twice[2])[0], encode_runs(masks)[0])
