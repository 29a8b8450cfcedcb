from collections.abc import Iterable
from itertools import chain

import pytest

from guidance.data.sampler import EvaluationSampler, TrainingBatchSampler
from guidance.errors import InputError


def indices(batches: Iterable[list[tuple[int, int]]], epoch: int) -> list[list[int]]:
    """Return the indices and check that all carry the epoch."""
    batches = list(batches)
    assert {number for batch in batches for number, _ in batch} <= {epoch}
    return [[index for _, index in batch] for batch in batches]


def epoch(
    length: int, batch_size: int, number: int, rank: int = 0, world_size: int = 1, seed: int = 0
) -> list[list[int]]:
    sampler = TrainingBatchSampler(length, batch_size, seed, rank, world_size)
    sampler.set_epoch(number)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return indices(batches, number)


def test_an_epoch_visits_every_image_once() -> None:
    batches = epoch(23, 5, 0)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert sorted(chain(*batches)) == list(range(23))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert epoch(50, 8, 3) == epoch(50, 8, 3)
    assert epoch(50, 8, 3) != epoch(50, 8, 4)
    assert epoch(50, 8, 3) != epoch(50, 8, 3, seed=1)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize(("length", "batch_size"), [(40, 10), (43, 10), (41, 7), (5, 64), (31, 5)])
def test_the_ranks_together_see_the_batches_of_one_process(
    length: int, batch_size: int, world_size: int
) -> None:
    alone = epoch(length, batch_size, 2)
    ranks = [epoch(length, batch_size, 2, rank, world_size) for rank in range(world_size)]
    if len(alone[-1]) < world_size:
        alone = alone[:-1]
    assert {len(batches) for batches in ranks} == {len(alone)}
    for number, batch in enumerate(alone):
        parts = [batches[number] for batches in ranks]
        assert list(chain(*parts)) == batch
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


@pytest.mark.parametrize("start_batch", [0, 1, 3, 5])
def test_a_resumed_epoch_begins_at_its_batch_and_the_next_at_zero(start_batch: int) -> None:
    resumed = TrainingBatchSampler(43, 10, 0, start_epoch=4, start_batch=start_batch)
    assert len(resumed) == 5
    assert indices(resumed, 4) == epoch(43, 10, 4)[start_batch:]
    for number in (5, 6):
        resumed.set_epoch(number)
        assert indices(resumed, number) == epoch(43, 10, number)


def test_the_epoch_is_fixed_when_iteration_begins() -> None:
    sampler = TrainingBatchSampler(20, 5, 0)
    batches = iter(sampler)
    sampler.set_epoch(1)
    assert indices(batches, 0) == epoch(20, 5, 0)


def test_too_many_processes_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.batch_size is 3.*4 processes of trainer\.devices"):
        TrainingBatchSampler(100, 3, 0, rank=0, world_size=4)
    with pytest.raises(InputError, match=r"3 images.*4 processes of trainer\.devices"):
        TrainingBatchSampler(3, 8, 0, rank=0, world_size=4)


@pytest.mark.parametrize("world_size", range(1, 6))
@pytest.mark.parametrize("length", [0, 1, 4, 17, 20])
def test_evaluation_sees_every_image_once(length: int, world_size: int) -> None:
    samplers = [EvaluationSampler(length, rank, world_size) for rank in range(world_size)]
    assert sorted(index for sampler in samplers for index in sampler) == list(range(length))
    for rank, sampler in enumerate(samplers):
        assert list(sampler) == list(range(rank, length, world_size))
        assert len(sampler) == len(list(sampler))


@pytest.mark.parametrize(("length", "size"), [(40, 12), (43, 10), (8, 8), (5, 9)])
def test_images_of_several_batches_are_counted(length: int, size: int) -> None:
    sampler = TrainingBatchSampler(length, size, 0)
    counts = [len(batch) for batch in sampler]
    for start in range(len(counts)):
        for stop in range(start, len(counts) + 1):
            assert sampler.images(start, stop) == sum(counts[start:stop])
