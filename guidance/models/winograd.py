"""3x3 convolutions in a quarter of the products: Winograd's minimal filtering F(4x4, 3x3), on a CPU.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). A tile of 4x4 pixels of an
output depends on 6x6 of the input. Rows and columns are taken for coefficients of polynomials, which are
multiplied by their values at six points: 36 products for a tile where there were 144. Before and after these
come sums with constant coefficients. All of it is in ``winograd.cpp``, compiled when first used, for as many
tiles at a time as leave their values in the cache.

The points are 0, infinity, and the square roots of 2 and of 1/2 with both signs. Their inverses are the same
points, so that a filter turned around, which a transposed convolution takes, has the filter's own values in
another order. In float32 a convolution rounds 0.6 to 1.5 times as much as torch's, gradients of filters up
to 4 times as much.

These are operators of torch (``torch.ops.guidance``), as a compiled program calls them; they have no
derivatives but :func:`gradients`.
"""

import torch
from torch import Tensor

from guidance.models.kernels import ORDER, PANEL, call, channels_last, size

TILE = 4
"""Height and width of the tiles of an output."""

_POINTS = 36


@torch.library.custom_op("guidance::winograd_filters", mutates_args=(), tags=ORDER)
def filters(weight: Tensor) -> Tensor:
    """Return the values of filters at all pairs of points.

    Args:
        weight: float32 or float64 [C', C, 3, 3].

    Returns:
        [36, n]: for each pair of points 32 channels of C, filled up with zeros where there are fewer, of each
        of the C' filters, then the next 32, and at last 32 zeros.
    """
    outputs, inputs = weight.shape[:2]
    values: Tensor = _values(weight)
    values[:, -PANEL:] = 0
    call("winograd", "values_of_filters", [channels_last(weight), values], outputs, inputs)
    return values


@torch.library.custom_op("guidance::winograd_convolution", mutates_args=(), tags=ORDER)
def convolution(x: Tensor, values: Tensor, channels: int, transposed: bool) -> Tensor:
    """Convolve with padding 1, as ``conv2d`` or ``conv_transpose2d``.

    Args:
        x: [N, C, H, W]; if ``transposed``, [N, C', H, W].
        values: Of the filters [C', C, 3, 3], by :func:`filters`.
        channels: Of the output, C'; if ``transposed``, C.
        transposed: Whether the convolution is a transposed one.

    Returns:
        [N, channels, H, W], channels last.
    """
    out = _images(x, channels)
    call(
        "winograd",
        "convolution",
        [channels_last(x), values, out],
        *size(x),
        x.shape[1],
        channels,
        int(transposed),
    )
    return out


@torch.library.custom_op("guidance::winograd_gradients", mutates_args=(), tags=ORDER)
def gradients(gradient: Tensor, x: Tensor, values: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and filters of :func:`convolution` by that of its output.

    Args:
        gradient: Of the output, [N, C', H, W]; if ``transposed``, [N, C, H, W].
        x: The input, [N, C, H, W]; if ``transposed``, [N, C', H, W].
        values: Of the filters [C', C, 3, 3], by :func:`filters`.
        transposed: Whether the convolution was a transposed one.

    Returns:
        Of the size of ``x``; [C', C, 3, 3]. Channels last.
    """
    of_x = convolution(gradient, values, x.shape[1], not transposed)
    # The gradient of what a transposed convolution gave is what its filters would be convolved with.
    outputs, inputs = (x, gradient) if transposed else (gradient, x)
    of_filters = _filters(outputs, inputs)
    call(
        "winograd",
        "gradients_of_filters",
        [channels_last(outputs), channels_last(inputs), of_filters],
        *size(x),
        outputs.shape[1],
        inputs.shape[1],
    )
    return of_x, of_filters


@filters.register_fake
def _values(weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[:2]
    # A line is left between points: what is a power of two apart would share few lines of the cache.
    return weight.new_empty(_POINTS, (-(-inputs // PANEL) * outputs + 1) * PANEL)


@convolution.register_fake
def _(x: Tensor, values: Tensor, channels: int, transposed: bool) -> Tensor:
    return _images(x, channels)


@gradients.register_fake
def _(gradient: Tensor, x: Tensor, values: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    return _images(x, x.shape[1]), _filters(x, gradient) if transposed else _filters(gradient, x)


def _images(like: Tensor, channels: int) -> Tensor:
    """Return memory for [N, channels, H, W], of as many images and pixels as ``like``."""
    images, height, width = size(like)
    return like.new_empty(images, height, width, channels).permute(0, 3, 1, 2)


def _filters(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return memory for filters of as many channels, [C', C, 3, 3]."""
    return outputs.new_empty(outputs.shape[1], 3, 3, inputs.shape[1]).permute(0, 3, 1, 2)
