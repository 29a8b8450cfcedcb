"""Sums over batch and positions, on a CPU: what batch norms and their derivatives are made of.

Where channels are last in memory, the loops that torch's compiler makes of such a sum go through memory once
for every 16 channels. Here all channels of a position are added to sums that stay in the cache
(``channel_sums.cpp``). 32 positions are summed in the type of the maps, and sums of these in float64.

Operators of torch (``torch.ops.guidance``), which have no derivatives. The maps may be ones of B-cos
transforms, ``out * |out| / norm``, which need not be in memory: the scale ``|out| / norm`` is computed on the
way.
"""

import torch
from torch import Tensor

from guidance.models.kernels import DTYPES, ORDER, call, channels_last, in_use_for, ready


def takes(*maps: Tensor) -> bool:
    """Return whether sums of maps, without a derivative, are left to these kernels outside of a program.

    Args:
        maps: [N, C, H, W].
    """
    first = maps[0]
    if torch.is_grad_enabled() or not in_use_for(first) or first.dtype not in DTYPES:
        return False
    same = all(each.shape == first.shape and each.dtype == first.dtype for each in maps)
    last = all(each.ndim == 4 and each.is_contiguous(memory_format=torch.channels_last) for each in maps)
    return same and last and ready("channel_sums")


@torch.library.custom_op("guidance::channel_moments", mutates_args=(), tags=ORDER)
def moments(x: Tensor, norm: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the biased variance and the mean of each channel.

    Args:
        x: float32 or float64 [N, C, H, W].
        norm: If given, [N, 1, H, W], and the moments are those of ``x * |x| / norm``.

    Returns:
        Each [C]; NaN if there is no position.
    """
    variance, mean = _moments(x, norm)
    last = channels_last(x)
    norms = last if norm is None else channels_last(norm)
    positions = x.numel() // x.shape[1]
    call(
        "channel_sums",
        "moments",
        [last, norms, variance, mean],
        positions,
        x.shape[1],
        int(norm is not None),
    )
    return variance, mean


@torch.library.custom_op("guidance::channel_products", mutates_args=(), tags=ORDER)
def products(x: Tensor, y: Tensor, out: Tensor | None, norm: Tensor | None) -> Tensor:
    """Return the sum of the products of two maps for each channel.

    Args:
        x: float32 or float64 [N, C, H, W].
        y: [N, C, H, W].
        out: If given, [N, C, H, W], and all products are multiplied by ``|out| / norm``.
        norm: [N, 1, H, W].

    Returns:
        [C]; 0 if there is no position.
    """
    sums: Tensor = _sums(x, y, out, norm)
    left, right = channels_last(x), channels_last(y)
    scale = [left, left] if out is None or norm is None else [channels_last(out), channels_last(norm)]
    call(
        "channel_sums",
        "products",
        [left, right, *scale, sums],
        x.numel() // x.shape[1],
        x.shape[1],
        int(norm is not None),
    )
    return sums


@moments.register_fake
def _moments(x: Tensor, norm: Tensor | None) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


@products.register_fake
def _sums(x: Tensor, y: Tensor, out: Tensor | None, norm: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[1])


MOMENTS = torch.ops.guidance.channel_moments.default
PRODUCTS = torch.ops.guidance.channel_products.default
"""The operators of :func:`moments` and :func:`products`, as nodes of a graph call them."""
