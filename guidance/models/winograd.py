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

These are operators of torch (``torch.ops.guidance``), which have no derivatives: those of a convolution are
another one, and :func:`gradients`.
"""

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from guidance.models.kernels import ORDER, PANEL, call, channels_last, empty_maps, size

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


_kept = WeakTensorKeyDictionary()


def kept_filters(weight: Tensor) -> Tensor:
    """Return what :func:`filters` does, once for a tensor that nobody writes to, as long as there is one.

    So one computation serves a forward pass, its explanation and the gradients of both. Values of a parameter
    are not kept: it changes, and not always in a way that can be seen. Nor are those of a tensor made in
    inference mode, of which torch does not note changes.

    Args:
        weight: float32 or float64 [C', C, 3, 3].
    """
    if isinstance(weight, nn.Parameter) or weight.is_inference():
        computed: Tensor = filters(weight)
        return computed
    version, values = _kept.get(weight, (None, None))
    if version != weight._version:
        values = filters(weight)
        _kept[weight] = weight._version, values
    kept: Tensor = values
    return kept


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
    out = empty_maps(x, channels)
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
def gradients(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Return the gradients of the filters of :func:`convolution`.

    Args:
        outputs: The gradient of its output, or the input of a transposed one: [N, C', H, W].
        inputs: Its input, or the gradient of the transposed one's output: [N, C, H, W].

    Returns:
        [C', C, 3, 3], channels last.
    """
    of_filters: Tensor = _filters(outputs, inputs)
    call(
        "winograd",
        "gradients_of_filters",
        [channels_last(outputs), channels_last(inputs), of_filters],
        *size(inputs),
        outputs.shape[1],
        inputs.shape[1],
    )
    return of_filters


@filters.register_fake
def _values(weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[:2]
    # A line is left between points: what is a power of two apart would share few lines of the cache.
    return weight.new_empty(_POINTS, (-(-inputs // PANEL) * outputs + 1) * PANEL)


@convolution.register_fake
def _(x: Tensor, values: Tensor, channels: int, transposed: bool) -> Tensor:
    return empty_maps(x, channels)


@gradients.register_fake
def _filters(outputs: Tensor, inputs: Tensor) -> Tensor:
    return outputs.new_empty(outputs.shape[1], 3, 3, inputs.shape[1]).permute(0, 3, 1, 2)
