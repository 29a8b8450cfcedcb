"""In which order a map removes pixels, and what is under the curve that follows."""

import torch
from torch import Tensor

from guidance.maps import upsample
from guidance.randomness import permutation


def removal_ranks(attributions: Tensor, size: tuple[int, int], most_first: bool, seed: int = 0) -> Tensor:
    """Rank the pixels of an image in the order in which a map removes them.

    Pixels of equal value come in a random order, one and the same for all maps, so that a map that says
    nothing of some pixels, or of any, removes them all over the image.

    Args:
        attributions: signed, floating point [N, h, w], brought to the image's size bilinearly; nan counts as
            no evidence, 0.
        size: (H, W) of the image.
        most_first: Whether the pixel with the most evidence for the class comes first, or the one with the
            least (the most against it).
        seed: Of the order of equal pixels.

    Returns:
        A permutation of 0 to H * W - 1 for each map, int64 [N, H, W].
    """
    values = upsample(attributions, size).flatten(1).nan_to_num(nan=0.0)
    shuffled = permutation(values.shape[1], seed).to(values.device)
    order = shuffled[values[:, shuffled].argsort(dim=1, descending=most_first, stable=True)]
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    unflattened: Tensor = ranks.unflatten(1, size)
    return unflattened


def area_under(curves: Tensor) -> Tensor:
    """Integrate curves over [0, 1] by the trapezoidal rule.

    Args:
        curves: Values at T + 1 equally spaced places, floating point [..., T + 1], T >= 1.

    Returns:
        [...]; that of a curve in [0, 1] is in [0, 1].
    """
    return torch.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), dim=-1)
