"""Transposed convolution: how an explanation goes back through a convolution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models import few_channels, kernels
from guidance.models.convolution_formulas import Geometry
from guidance.models.convolutions import transposed
from guidance.models.plain_formulas import for_compiler

Pair = tuple[int, int]

_FEW_CHANNELS = 16
"""With fewer to write to, torch (2.14, oneDNN on a CPU) leaves most of a vector unused."""


def transposed_convolution(x: Tensor, weight: Tensor, size: Sequence[int], geometry: Geometry) -> Tensor:
    """Return the gradient of a convolution's input by that of its output.

    With few channels and a stride, as in the first layer of a network, it is computed without the stride:
    each of the pixels that a step spans has channels of its own.

    Args:
        x: The gradient of the output, [N, C', H', W'].
        weight: The filters, [C', C / groups, h, w].
        size: (H, W) of the input.
        geometry: Of the convolution.

    Returns:
        [N, C, H, W], zero where no patch reached.
    """
    stride, padding, dilation, _, _, groups = geometry
    few = weight.shape[1] < _FEW_CHANNELS and x.device.type == "cpu"
    if few and min(stride) > 1 and dilation == (1, 1) and groups == 1 and not _faster_as_it_is(x, weight):
        steps = [-(-(p + whole) // s) for p, whole, s in zip(padding, size, stride, strict=True)]
        taps = [-(-k // s) for k, s in zip(weight.shape[2:], stride, strict=True)]
        beyond = [out + n - 1 - m for out, n, m in zip(x.shape[2:], taps, steps, strict=True)]
        if min(beyond) >= 0:
            return _by_phases(x, weight, size, stride, padding, beyond)
    left_over = [
        whole - ((out - 1) * s - 2 * p + d * (k - 1) + 1)
        for whole, out, s, p, d, k in zip(
            size, x.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
        )
    ]
    return transposed(x, weight, Geometry(stride, padding, dilation, True, left_over, groups))


def _faster_as_it_is(x: Tensor, weight: Tensor) -> bool:
    """Return whether a kernel of our own is faster, or a compiler makes the derivatives."""
    if for_compiler() and torch.is_grad_enabled():
        return True
    return (for_compiler() or kernels.in_use_for(x)) and few_channels.takes(x, weight, (1, 1), 1)


def _by_phases(
    x: Tensor,
    weight: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    beyond: Sequence[int],
) -> Tensor:
    """Compute pixels s i, s i + 1, ... of each step i as channels of a convolution without a stride.

    Args:
        x: As above; so are the next four.
        weight: [C', C, h, w].
        size: (H, W).
        stride: Steps s.
        padding: Zero padding.
        beyond: How many steps would be computed beyond the last row and column.
    """
    missing = [-k % s for k, s in zip(weight.shape[2:], stride, strict=True)]
    filters = F.pad(weight, (0, missing[1], 0, missing[0]))
    filters = filters.unflatten(3, (-1, stride[1])).unflatten(2, (-1, stride[0]))
    filters = filters.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    # Steps within the padding are left out, as many on both sides.
    left_out = [min(p // s, b) for p, s, b in zip(padding, stride, beyond, strict=True)]
    phases = F.conv_transpose2d(x, filters, padding=left_out)
    steps = phases.unflatten(1, (*stride, weight.shape[1])).permute(0, 4, 1, 5, 2, 3)
    pixels: Tensor = steps.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    top, left = (p - s * n for p, s, n in zip(padding, stride, left_out, strict=True))
    return pixels[:, :, top : top + size[0], left : left + size[1]]
