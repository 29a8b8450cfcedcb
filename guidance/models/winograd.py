"""3x3 convolutions in a quarter of the products: Winograd's minimal filtering F(4x4, 3x3), on a CPU.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016). A tile of 4x4 pixels of an
output depends on 6x6 of the input. Rows and columns are taken for coefficients of polynomials, which are
multiplied by their values at six points: 36 products for a tile where there were 144. What is left are sums
with constant coefficients (``winograd.cpp``, compiled when first used), before and after the products.

The points are 0, infinity, and the square roots of 2 and of 1/2 with both signs. Their inverses are the same
points, so that a filter turned around, which a transposed convolution takes, has the filter's own values in
another order. Rounding in float32 is about twice that of torch's convolutions.

These are operators of torch (``torch.ops.guidance``), as a compiled program calls them; they have no
derivatives but :func:`gradients`.
"""

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

TILE = 4
"""Height and width of the tiles of an output."""

_VALUES = 36
_APART = 16  # numbers
_NAMES = {torch.float32: "float", torch.float64: "double"}

DTYPES = tuple(_NAMES)
"""What the operators take."""

AVAILABLE = sys.platform != "win32"
"""Whether they can be compiled: the compiler that torch takes on Windows has other vectors."""


@cache
def kernels() -> ctypes.CDLL:
    """Return the compiled sums, as torch's compiler compiles and keeps what it generates."""
    from torch._inductor.codecache import CppCodeCache

    source = Path(__file__).with_suffix(".cpp").read_text(encoding="utf-8")
    library: ctypes.CDLL = CppCodeCache.load(source)
    return library


@torch.library.custom_op("guidance::winograd_filters", mutates_args=())
def filters(weight: Tensor) -> Tensor:
    """Return the values of filters at all pairs of points.

    Args:
        weight: float32 or float64 [C', C, 3, 3].

    Returns:
        [36, C', C].
    """
    taps = weight.permute(2, 3, 0, 1).contiguous()
    values = _room(weight, *weight.shape[:2])
    _call("values_of_filters", taps, values, values.stride(0), values[0].numel())
    return values


@torch.library.custom_op("guidance::winograd_convolution", mutates_args=())
def convolution(x: Tensor, values: Tensor, transposed: bool) -> Tensor:
    """Convolve with padding 1, as ``conv2d`` or ``conv_transpose2d``.

    Args:
        x: [N, C, H, W]; if ``transposed``, [N, C', H, W].
        values: Of the filters, [36, C', C].
        transposed: Whether the convolution is a transposed one.

    Returns:
        [N, C', H, W], or [N, C, H, W], channels last.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    tiles = _tiles("tiles_of_input", x, transposed)
    return _pixels(tiles @ (values if transposed else values.mT), x, transposed)


@torch.library.custom_op("guidance::winograd_gradients", mutates_args=())
def gradients(gradient: Tensor, x: Tensor, values: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and filters of :func:`convolution` by that of its output.

    Args:
        gradient: Of the output, [N, C', H, W]; if ``transposed``, [N, C, H, W].
        x: The input, [N, C, H, W]; if ``transposed``, [N, C', H, W].
        values: Of the filters, [36, C', C].
        transposed: Whether the convolution was a transposed one.

    Returns:
        Of the size of ``x``, channels last; [C', C, 3, 3].
    """
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    if transposed:
        # The gradient is what the filters are convolved with, x what that gave.
        tiles = _tiles("tiles_of_input", gradient)
        of_x = _pixels(tiles @ values.mT, x)
        of_values = _tiles("tiles_of_output", x).mT @ tiles
    else:
        of_x = _pixels(_tiles("tiles_of_input", gradient, True) @ values, x, True)
        of_values = _tiles("tiles_of_output", gradient).mT @ _tiles("tiles_of_input", x)
    taps = values.new_empty(3, 3, *values.shape[1:])
    _call("gradients_of_filters", of_values, taps, of_values.stride(0), taps[0, 0].numel())
    return of_x, taps.permute(2, 3, 0, 1).contiguous()


@filters.register_fake
def _(weight: Tensor) -> Tensor:
    return _room(weight, *weight.shape[:2])


@convolution.register_fake
def _(x: Tensor, values: Tensor, transposed: bool) -> Tensor:
    return _empty(x, values.shape[2 if transposed else 1])


@gradients.register_fake
def _(gradient: Tensor, x: Tensor, values: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    return _empty(x, x.shape[1]), values.new_empty(*values.shape[1:], 3, 3)


def _tiles(kernel: str, x: Tensor, back: bool = False) -> Tensor:
    """Return the values of tiles of x [N, C, H, W], one every 4 pixels, [36, tiles, C]."""
    images, channels, height, width = x.shape
    values = _room(x, images * -(-height // TILE) * -(-width // TILE), channels)
    _call(kernel, x, values, values.stride(0), images, height, width, channels, back=back)
    return values


def _pixels(values: Tensor, like: Tensor, back: bool = False) -> Tensor:
    """Return the output of values [36, tiles, C], [N, C, H, W] of as many images and pixels as ``like``."""
    channels = values.shape[2]
    out = _empty(like, channels)
    _call("pixels", values, out, values.stride(0), len(like), *like.shape[2:], channels, back=back)
    return out


def _room(like: Tensor, rows: int, columns: int) -> Tensor:
    """Return memory for values [36, rows, columns].

    A vector's room is left between points: what is a power of two apart would share few lines of the cache.
    """
    room = like.new_empty(_VALUES, rows * columns + _APART)
    values: Tensor = room[:, : rows * columns].unflatten(1, (rows, columns))
    return values


def _empty(like: Tensor, channels: int) -> Tensor:
    size = like.shape[0], channels, *like.shape[2:]
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _call(name: str, source: Tensor, target: Tensor, *sizes: int, back: bool | None = None) -> None:
    """Call a kernel of the type of its tensors, whose memory is contiguous."""
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (source, target)]
    flags = [] if back is None else [ctypes.c_int(back)]
    kernel = getattr(kernels(), f"{name}_{_NAMES[source.dtype]}")
    kernel(*pointers, *map(ctypes.c_int64, sizes), *flags, ctypes.c_int(torch.get_num_threads()))
