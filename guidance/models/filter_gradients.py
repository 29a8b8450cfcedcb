"""Gradients of filters by matrix products of our own, on a CPU.

Where maps are small and channels many, torch's convolution spends much of its time on the order of the
filters' gradient in memory. Here panels of channels are packed for as many pixels at a time as stay in the
cache, and multiplied by the kernel that multiplies tiles, once for each tap of the filters
(``filter_gradients.cpp``). In float32 it rounds about as torch's convolution does, and with several taps a
fifth as much where there is AVX2 alone.

An operator of torch (``torch.ops.guidance``), which has no derivative.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.models.kernels import ORDER, call, channels_last, size


@torch.library.custom_op("guidance::filter_gradients", mutates_args=(), tags=ORDER)
def gradients(
    outputs: Tensor, inputs: Tensor, filter_size: Sequence[int], stride: int, padding: int
) -> Tensor:
    """Return the gradients of filters, without dilation and groups.

    Args:
        outputs: The gradient of a convolution's output, or the input of a transposed one: float32 or float64,
            [N, C', H', W'].
        inputs: The convolution's input, or the gradient of the transposed one's output: [N, C, H, W].
            Channels are multiples of 32.
        filter_size: Height and width.
        stride: Down and to the right.
        padding: With zeros, on all sides.

    Returns:
        [C', C, height, width], channels last.
    """
    filters = _filters(outputs, inputs, filter_size)
    call(
        "filter_gradients",
        "filter_gradients",
        [channels_last(outputs), channels_last(inputs), filters],
        *size(outputs),
        outputs.shape[1],
        inputs.shape[1],
        *size(inputs)[1:],
        *filter_size,
        stride,
        padding,
    )
    return filters


@gradients.register_fake
def _(outputs: Tensor, inputs: Tensor, filter_size: Sequence[int], stride: int, padding: int) -> Tensor:
    return _filters(outputs, inputs, filter_size)


def _filters(outputs: Tensor, inputs: Tensor, filter_size: Sequence[int]) -> Tensor:
    """Return memory for filters of as many channels, [C', C, height, width]."""
    return outputs.new_empty(outputs.shape[1], *filter_size, inputs.shape[1]).permute(0, 3, 1, 2)
