"""Which of two backgrounds each image of two classes gets, by a given strength of their correlation."""

import torch
from torch import Tensor

from guidance.randomness import permutation


def assign_backgrounds(labels: Tensor, strength: float, *parts: int) -> Tensor:
    """Choose a background for every image, so that an exact part of each class gets its own.

    Of the n images of class 1, round(strength * n) get background 1; of the n of class 0,
    round((1 - strength) * n). Halves are rounded to even.

    Args:
        labels: 0 or 1, int64 [N].
        strength: In [0, 1]: 1 ties background and class together, at 0.5 neither tells the other.
        *parts: Integers that the choice depends on.

    Returns:
        0 or 1, int64 [N].
    """
    backgrounds = torch.zeros_like(labels)
    for label in (0, 1):
        own = (labels == label).nonzero().flatten()
        count = round((strength if label else 1 - strength) * len(own))
        backgrounds[own[permutation(len(own), *parts, label)[:count]]] = 1
    return backgrounds
