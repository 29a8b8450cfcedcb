"""Gradients of 1x1 filters by a matrix product of our own, on a CPU.

Where maps are small and channels many, torch's convolution spends much of its time on the order of the
filters' gradient in memory. Here panels of channels are packed for as many pixels at a time as stay in the
cache, and multiplied by the kernel that multiplies tiles (``pointwise.cpp``). In float32 it rounds as torch's
convolution does.

An operator of torch (``torch.ops.guidance``), as a compiled program calls it; it has no derivative.
"""

import torch
from torch import Tensor

from guidance.models.kernels import ORDER, call, channels_last, size


@torch.library.custom_op("guidance::pointwise_gradients", mutates_args=(), tags=ORDER)
def gradients(outputs: Tensor, inputs: Tensor, stride: int) -> Tensor:
    """Return the gradients of 1x1 filters, without padding and groups.

    Args:
        outputs: The gradient of a convolution's output, or the input of a transposed one: float32 or float64,
            [N, C', H', W'].
        inputs: The convolution's input, or the gradient of the transposed one's output: [N, C, H, W], of
            which every ``stride``th pixel takes part. Channels are multiples of 32.
        stride: Down and to the right.

    Returns:
        [C', C, 1, 1].
    """
    filters = _filters(outputs, inputs)
    call(
        "pointwise",
        "pointwise_gradients",
        [channels_last(outputs), channels_last(inputs), filters],
        *size(outputs),
        outputs.shape[1],
        inputs.shape[1],
        *size(inputs)[1:],
        stride,
    )
    return filters


@gradients.register_fake
def _(outputs: Tensor, inputs: Tensor, stride: int) -> Tensor:
    return _filters(outputs, inputs)


def _filters(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return memory for filters of as many channels, [C', C, 1, 1]."""
    return outputs.new_empty(outputs.shape[1], inputs.shape[1], 1, 1)
