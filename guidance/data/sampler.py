"""Which images each process sees, in which order; nothing here depends on a generator's state."""

from collections.abc import Iterator

from torch.utils.data import DistributedSampler, Sampler

from guidance.errors import InputError
from guidance.randomness import permutation


class TrainingBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of a shuffled epoch that are the same on one device or many, and before or after a resume.

    Epoch e visits the images in an order that depends on (seed, e). Each GLOBAL batch is the next
    ``batch_size`` of them, and is cut into ``world_size`` consecutive parts, equal up to one image, of which
    this process yields its own. The last batch of an epoch may be smaller; one with fewer images than
    processes is dropped on all. An image is yielded as (epoch, index), for the draws that depend on both.

    To be given to a ``DataLoader`` as ``batch_sampler``, under ``Trainer(use_distributed_sampler=False)``.

    Attributes:
        batch_size: Images of a batch over all processes.

    Args:
        length: Number of images.
        batch_size: Images of a batch over all processes.
        seed: Any integer.
        rank: This process.
        world_size: Number of processes.
        start_epoch: The epoch that a resumed run goes on with.
        start_batch: The batch at which ``start_epoch`` begins; all other epochs begin at 0.

    Raises:
        InputError: If a batch, or the data set, has fewer images than there are processes.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_epoch: int = 0,
        start_batch: int = 0,
    ) -> None:
        if batch_size < world_size:
            raise InputError(
                f"data.batch_size is {batch_size} in all, fewer than the {world_size} processes of "
                f"trainer.devices; every process needs at least one image of each batch"
            )
        if length < world_size:
            raise InputError(
                f"the training split has {length} images, fewer than the {world_size} processes of "
                f"trainer.devices; use fewer devices"
            )
        self.batch_size = batch_size
        self._length = length
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._start = (start_epoch, start_batch)
        self._epoch = start_epoch

    @property
    def sampler(self) -> "TrainingBatchSampler":
        """The object itself, because Lightning calls ``set_epoch`` on a batch sampler's ``sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter()`` yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch, wherever a resumed one begins."""
        whole, rest = divmod(self._length, self.batch_size)
        return whole + (rest >= self._world_size)

    def images(self, start: int, stop: int) -> int:
        """Return how many images batches ``start`` to ``stop - 1`` of an epoch have, over all processes."""
        return min(stop * self.batch_size, self._length) - start * self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # The epoch is read now, not at the first batch: worker processes are sent indices as early as that.
        return self._batches(self._epoch)

    def _batches(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        start_epoch, start_batch = self._start
        order = permutation(self._length, self._seed, epoch).tolist()
        for number in range(start_batch if epoch == start_epoch else 0, len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            low, high = (len(batch) * rank // self._world_size for rank in (self._rank, self._rank + 1))
            yield [(epoch, index) for index in batch[low:high]]


class EvaluationSampler(DistributedSampler[int]):
    """Every image once over all processes: this one takes rank, rank + W, rank + 2 W, ...

    Nothing is padded, so processes may differ by one image and by one batch. A ``DistributedSampler`` by type
    only, which keeps Lightning from wrapping it in one that pads.

    Args:
        length: Number of images.
        rank: This process.
        world_size: W, the number of processes.
    """

    def __init__(self, length: int, rank: int = 0, world_size: int = 1) -> None:
        indices = range(rank, length, world_size)
        super().__init__(indices, num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)
