"""Back through convolutions of images with few channels, as first layers are: to image and filters, on a CPU.

A vector of the processor holds more channels than such an image has. So a row of a patch, channels last one
stretch of a row of the image, takes the place of channels: the transposed convolution multiplies all pixels
of a row by all filters at once and adds up what overlaps, and the filters' gradient multiplies rows of
patches where they are (``few_channels.cpp``). In float32 they round less than torch's.

These are operators of torch (``torch.ops.guidance``), which have no derivatives.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.models.kernels import AVAILABLE, DTYPES, ORDER, PANEL, call, channels_last, size

_FEW_CHANNELS = 16
_LEAST_PATCH = 24
"""Fewer numbers leave most of a panel empty."""

_LARGEST_FILTERS = 1 << 19
"""Bytes of filters that are taken to stay in the cache."""


def takes(outputs: Tensor, weight: Tensor, dilation: Sequence[int], groups: int) -> bool:
    """Return whether these operators compute a convolution's way back, and faster than torch.

    Args:
        outputs: The gradient of its output, [N, C', H', W'].
        weight: Its filters, [C', C / groups, h, w].
        dilation: Its dilation.
        groups: Its groups.
    """
    if (
        weight.ndim != 4
        or weight.shape[1] >= _FEW_CHANNELS
        or weight.shape[0] % PANEL
        or {*dilation, groups} != {1}
    ):
        return False
    if not AVAILABLE or outputs.device.type != "cpu" or outputs.dtype not in DTYPES:
        return False
    return weight[0].numel() >= _LEAST_PATCH and weight.numel() * outputs.dtype.itemsize <= _LARGEST_FILTERS


@torch.library.custom_op("guidance::few_channels_transposed", mutates_args=(), tags=ORDER)
def transposed(
    x: Tensor, weight: Tensor, image_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Return the gradient of a convolution's input by that of its output.

    Args:
        x: float32 or float64 [N, C', H', W'], C' a multiple of 32.
        weight: The filters, [C', C, h, w].
        image_size: (H, W) of the convolution's input.
        stride: Down and to the right.
        padding: Zero padding, above and on the left.

    Returns:
        [N, C, H, W], channels last, zero where no patch reached.
    """
    image = _image(x, weight, image_size)
    _call(
        "transposed",
        [channels_last(x), channels_last(weight), image],
        image,
        x,
        weight.shape[2:],
        stride,
        padding,
    )
    return image


@torch.library.custom_op("guidance::few_channels_gradients", mutates_args=(), tags=ORDER)
def gradients(
    outputs: Tensor, inputs: Tensor, filter_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Return the gradients of filters.

    Args:
        outputs: The gradient of a convolution's output, or the input of a transposed one: float32 or float64,
            [N, C', H', W'], C' a multiple of 32.
        inputs: The convolution's input, or the gradient of the transposed one's output: [N, C, H, W].
        filter_size: (h, w).
        stride: Down and to the right.
        padding: Zero padding, above and on the left.

    Returns:
        [C', C, h, w], channels last.
    """
    filters = _filters(outputs, inputs, filter_size)
    tensors = [channels_last(outputs), channels_last(inputs), filters]
    _call("gradients", tensors, inputs, outputs, filter_size, stride, padding)
    return filters


def _call(
    name: str,
    tensors: list[Tensor],
    image: Tensor,
    output: Tensor,
    filter_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> None:
    sizes = [*size(image), image.shape[1], *size(output)[1:], output.shape[1]]
    call("few_channels", f"few_channels_{name}", tensors, *sizes, *filter_size, *stride, *padding)


@transposed.register_fake
def _(
    x: Tensor, weight: Tensor, image_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    return _image(x, weight, image_size)


@gradients.register_fake
def _(
    outputs: Tensor, inputs: Tensor, filter_size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    return _filters(outputs, inputs, filter_size)


def _image(x: Tensor, weight: Tensor, image_size: Sequence[int]) -> Tensor:
    """Return memory for [N, C, H, W]."""
    return x.new_empty(x.shape[0], *image_size, weight.shape[1]).permute(0, 3, 1, 2)


def _filters(outputs: Tensor, inputs: Tensor, filter_size: Sequence[int]) -> Tensor:
    """Return memory for filters of as many channels, [C', C, h, w]."""
    return outputs.new_empty(outputs.shape[1], *filter_size, inputs.shape[1]).permute(0, 3, 1, 2)
