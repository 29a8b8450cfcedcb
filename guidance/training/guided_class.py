"""Which classes of each image are guided in a training step."""

import torch
from torch import Tensor

from guidance.randomness import hash_integers


def draw_guided_class(guidable: Tensor, seed: int, epoch: int, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one guidable class per image, uniformly.

    Rao et al., ICCV 2023: one present class per image and step, whose map alone is guided. The draw depends
    on (seed, epoch, image) alone, so it is the same on any number of processes and after a resume.

    Args:
        guidable: Which (image, class) pairs may be guided, bool [N, K].
        seed: Of the run.
        epoch: Counted from 0.
        indices: Each image's index in its data set, int64 [N].

    Returns:
        The class drawn, int64 [N] (0 where there is none), and whether there is one, bool [N].
    """
    count = guidable.sum(dim=1)
    number = hash_integers(seed, epoch, indices) % count.clamp(min=1)
    # The class drawn is where the running count of guidable classes first exceeds the number drawn.
    chosen = guidable & (guidable.cumsum(dim=1) == (number + 1)[:, None])
    return chosen.int().argmax(dim=1), count > 0


def nth_class(guidable: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return each image's guidable class of a given number, in label order.

    Args:
        guidable: bool [N, K].
        number: Counted from 0.

    Returns:
        The class, int64 [N] (0 where there is none), and whether there is one, bool [N].
    """
    chosen = guidable & (guidable.cumsum(dim=1) == number + 1)
    return chosen.int().argmax(dim=1), chosen.any(dim=1)


def rows_to_explain(guided: Tensor) -> Tensor | slice:
    """Return which images of a batch need a map.

    Args:
        guided: Whether any class of an image is guided, bool [N], in main memory.

    Returns:
        Their positions, int64 [P]; the slice of all if all are guided, and the first if none is.
    """
    if bool(guided.all()):
        return slice(None)
    rows = guided.nonzero()[:, 0]
    return rows if len(rows) else torch.zeros(1, dtype=torch.int64)
