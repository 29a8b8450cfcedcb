"""Seeded choices of images: which are annotated, and which of an official split train and which validate."""

import torch
from torch import Tensor

from guidance.errors import InputError
from guidance.randomness import hash_integers, permutation

# Set apart from the (seed, epoch) streams that order the training images: an epoch is never negative.
_ANNOTATED = -1
_SPLIT = -2


def check_fraction(option: str, fraction: float) -> None:
    """Refuse what is no number in [0, 1].

    Raises:
        InputError: Naming the option.
    """
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise InputError(f"{option} is {fraction}; it must be a number in [0, 1]")


def annotated_subset(length: int, fraction: float, seed: int) -> Tensor:
    """Choose the images whose boxes may be used for guidance.

    With one seed a smaller fraction's images are among a larger one's, so that results for 1 % and 10 % of
    the annotations differ by the added images only.

    Args:
        length: Number of images.
        fraction: In [0, 1].
        seed: Any integer.

    Returns:
        bool [length]; at least one image if the fraction is above 0.

    Raises:
        InputError: If the fraction lies outside [0, 1].
    """
    check_fraction("data.annotated_fraction", fraction)
    count = max(1, round(fraction * length)) if fraction > 0 else 0
    annotated = torch.zeros(length, dtype=torch.bool)
    annotated[permutation(length, seed, _ANNOTATED)[:count]] = True
    return annotated


def seeded_split(length: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split ``range(length)`` in two at random.

    Args:
        length: Number of images.
        fraction: The part that goes to the first half, in [0, 1], rounded to whole images.
        seed: Any integer.

    Returns:
        Two int64 tensors, each ascending, that share nothing and together are ``range(length)``.

    Raises:
        InputError: If the fraction lies outside [0, 1].
    """
    check_fraction("the fraction of a split", fraction)
    # Sorting by a hash instead of shuffling: the same in every version of every library.
    order = hash_integers(seed, _SPLIT, torch.arange(length)).argsort(stable=True)
    count = round(fraction * length)
    return order[:count].sort().values, order[count:].sort().values
