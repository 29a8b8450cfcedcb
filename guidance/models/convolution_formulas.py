"""Which convolutions, and gradients of them, kernels of our own compute on a CPU, and by which.

3x3 filters with stride 1 and padding 1 are those of :mod:`guidance.models.winograd` where channels and pixels
are many (in bfloat16 too, and then in float32, where no matrix unit is faster). Gradients of other filters
are those of :mod:`guidance.models.filter_gradients` where channels are many and pixels few, and what goes
back through a first layer is that of :mod:`guidance.models.few_channels`. All else is torch's.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverload

from guidance.models import few_channels, filter_gradients, kernels, winograd

_FEWEST_CHANNELS = 32
_FEWEST_TILES = 32
"""With fewer in a batch, values of the filters are read and written for too little gain."""

_FEWEST_TILES_FOR_BFLOAT16 = 256
"""Fewer gain less than float32 in the place of bfloat16 costs in memory."""

_MOST_PIXELS = 256
"""With more in a map, torch is as fast with gradients of 1x1 filters."""

_LARGEST_FILTER = 3
"""With more than 3x3, torch is as fast."""

_ANY_NUMBER = 8
"""Images of a batch of which a program does not know how many it has."""


class Geometry(NamedTuple):
    """What follows tensors in the arguments of torch's convolutions."""

    stride: Sequence[int] = (1, 1)
    padding: Sequence[int] = (0, 0)
    dilation: Sequence[int] = (1, 1)
    transposed: bool = False
    output_padding: Sequence[int] = (0, 0)
    groups: int = 1


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *others: Any) -> Any:
    """Convolve as ``torch.ops.aten.convolution`` does, or return ``NotImplemented`` where it is as fast.

    Args:
        x: [N, C, H, W]; of a transposed convolution [N, C', H, W].
        weight: [C', C / groups, h, w].
        bias: With one, it is torch's.
        others: A :class:`Geometry`.
    """
    geometry = Geometry(*others)
    if bias is not None:
        return NotImplemented
    if geometry.transposed and _by_rows(x, weight, geometry):
        parts = zip(x.shape[2:], weight.shape[2:], *geometry[:2], geometry.output_padding, strict=True)
        image = [(out - 1) * step + taps - 2 * padding + left for out, taps, step, padding, left in parts]
        return few_channels.transposed(x, weight, image, geometry.stride, geometry.padding)
    if not _by_tiles(x, weight, geometry):
        return NotImplemented
    channels = weight.shape[1 if geometry.transposed else 0]
    return _convolved(x, weight, channels, geometry.transposed)


def gradients_of_filters(outputs: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry) -> Any:
    """Return the gradients of a convolution's filters, or ``NotImplemented`` where torch's are as fast.

    Args:
        outputs: The gradient of its output, or the input of a transposed one: [N, C', H', W'].
        inputs: Its input, or the gradient of the transposed one's output: [N, C, H, W].
        weight: [C', C / groups, h, w]; its values do not matter.
        geometry: Of the convolution.
    """
    if _by_tiles(outputs, weight, geometry):
        return winograd.gradients(_exact(outputs), _exact(inputs)).to(weight.dtype)
    size, stride, padding = weight.shape[2:], geometry.stride, geometry.padding
    if _by_rows(outputs, weight, geometry):
        return few_channels.gradients(outputs, inputs, size, stride, padding)
    if _by_panels(outputs, weight, geometry):
        return filter_gradients.gradients(outputs, inputs, size, stride[0], padding[0])
    return NotImplemented


def convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, bias: Any, *others: Any) -> Any:
    """Return what ``torch.ops.aten.convolution_backward`` does, or ``NotImplemented``.

    Args:
        gradient: Of the output of the convolution.
        x: Its input; so are the next ones.
        weight: [C', C / groups, h, w].
        bias: Sizes of the bias; with one, all is torch's.
        others: A :class:`Geometry`, and which of the three gradients are wanted.
    """
    geometry = Geometry(*others[:-1])
    wants_x, wants_weight, wants_bias = others[-1]
    if wants_bias:
        return NotImplemented
    by_tiles = _by_tiles(x, weight, geometry)
    of_x = of_weight = None
    if wants_weight:
        # The gradient of what a transposed convolution gave is what its filters would be convolved with.
        outputs, inputs = (x, gradient) if geometry.transposed else (gradient, x)
        of_weight = gradients_of_filters(outputs, inputs, weight, geometry)
        if of_weight is NotImplemented:
            return NotImplemented
    elif not by_tiles:
        return NotImplemented
    if wants_x and by_tiles:
        of_x = _convolved(gradient, weight, x.shape[1], not geometry.transposed)
    elif wants_x and geometry.transposed:
        stride, padding, dilation = geometry[:3]
        of_x = F.conv2d(gradient, weight, None, stride, padding, dilation, geometry.groups)
    elif wants_x:
        backward = torch.ops.aten.convolution_backward
        of_x = backward(gradient, x, weight, bias, *others[:-1], [True, False, False])[0]
    return of_x, of_weight, None


def _convolved(x: Tensor, weight: Tensor, channels: int, transposed: bool) -> Tensor:
    """Convolve by tiles."""
    # A program computes equal values once by itself.
    values = winograd.kept_filters if kernels.in_use_for(weight) else winograd.filters
    out: Tensor = winograd.convolution(_exact(x), values(_exact(weight)), channels, transposed)
    return out.to(weight.dtype)


def _exact(x: Tensor) -> Tensor:
    """Return a tensor as tiles take it."""
    return x.float() if x.dtype == torch.bfloat16 else x


def _is_for_tiles(dtype: torch.dtype) -> bool:
    """Return whether tiles are computed for a type.

    In float32 they take a quarter of the products. In bfloat16 torch takes half the time for each, and much
    less with a matrix unit, of which versions that know no capabilities do not tell.
    """
    if dtype != torch.bfloat16:
        return dtype in kernels.DTYPES
    vectors = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    return vectors and capabilities is not None and not capabilities().get("amx_bf16", False)


def _by_tiles(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Return whether a convolution, of input or output ``x``, is one that tiles compute, and faster."""
    ones = {*geometry.stride, *geometry.padding, *geometry.dilation, geometry.groups}
    if tuple(weight.shape[2:]) != (3, 3) or ones != {1} or any(geometry.output_padding):
        return False
    if not _is_for_tiles(x.dtype):
        return False
    images = x.shape[0] if isinstance(x.shape[0], int) else _ANY_NUMBER
    down, right = (-(-side // winograd.TILE) for side in x.shape[2:])
    fewest = _FEWEST_TILES_FOR_BFLOAT16 if x.dtype == torch.bfloat16 else _FEWEST_TILES
    enough = min(weight.shape[:2]) >= _FEWEST_CHANNELS and images * down * right >= fewest
    return enough and kernels.ready("winograd")


def _by_rows(outputs: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Return whether the way back through a convolution is one of few channels, for rows of patches."""
    taken = few_channels.takes(outputs, weight, geometry.dilation, geometry.groups)
    return taken and kernels.ready("few_channels")


def _by_panels(outputs: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Return whether gradients of filters are ones that products of panels compute, and faster."""
    if outputs.dtype not in kernels.DTYPES or weight.ndim != 4:
        return False
    if any(channels % kernels.PANEL for channels in weight.shape[:2]):
        return False
    if {*geometry.dilation, geometry.groups} != {1} or len({*geometry.padding}) > 1:
        return False
    if len({*geometry.stride}) > 1:
        return False
    strided, several_taps = geometry.stride[0] > 1, tuple(weight.shape[2:]) != (1, 1)
    few_pixels = not several_taps and outputs.shape[2] * outputs.shape[3] <= _MOST_PIXELS
    by_capability = {"AVX2": strided or several_taps, "AVX512": strided and several_taps}
    if not few_pixels and (
        max(weight.shape[2:]) > _LARGEST_FILTER
        or not by_capability.get(torch.backends.cpu.get_cpu_capability(), False)
    ):
        return False
    return kernels.ready("filter_gradients")


FORMULAS: dict[OpOverload[..., Any], Callable[..., Any]] = {
    torch.ops.aten.convolution.default: convolution,
    torch.ops.aten.convolution_backward.default: convolution_backward,
}
"""Of operators of torch on a CPU, each of which declines what it is not for (a table of decompositions)."""
