"""What compiles a program: torch's compiler, with 3x3 convolutions on a CPU in a quarter of the products."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule

from guidance.models import winograd

_FEWEST_CHANNELS = 32
_FEWEST_TILES = 32
"""With fewer in a batch, values of the filters are read and written for too little gain."""

_ANY_NUMBER = 8
"""Images of a batch of which a program does not know how many it has."""

Backend = str | Callable[..., Any]
"""Of ``torch.compile``: a name, or a function of a graph and its inputs."""


def inductor(graph: GraphModule, inputs: Sequence[Any]) -> Any:
    """Compile a graph as ``torch.compile(backend="inductor")`` does, equal but for rounding.

    On a CPU, convolutions with 3x3 filters, stride 1 and padding 1, and their gradients are computed by
    :mod:`guidance.models.winograd` where channels and pixels are many.
    """
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    if any(isinstance(each, Tensor) and each.device.type != "cpu" for each in inputs):
        return compile_fx(graph, inputs)
    # Torch keeps what it compiled, and does not look at the formulas.
    formulas = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    with torch.compiler.config.patch(cache_key_tag=formulas):  # type: ignore[attr-defined]
        return compile_fx(graph, inputs, decompositions={**select_decomp_table(), **FORMULAS})


class _Geometry(NamedTuple):
    """What follows tensors in the arguments of torch's convolutions."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *others: Any) -> Any:
    geometry = _Geometry(*others)
    if bias is not None or not _by_tiles(x, weight, geometry):
        return NotImplemented
    channels = weight.shape[1 if geometry.transposed else 0]
    return winograd.convolution(x, _values(weight), channels, geometry.transposed)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, _: Any, *others: Any) -> Any:
    geometry = _Geometry(*others[:-1])
    wants_x, wants_weight, wants_bias = others[-1]
    if wants_bias or not wants_x or not _by_tiles(x, weight, geometry):
        return NotImplemented
    values = _values(weight)
    if wants_weight:
        return *winograd.gradients(gradient, x, values, geometry.transposed), None
    return winograd.convolution(gradient, values, x.shape[1], not geometry.transposed), None, None


def _values(weight: Tensor) -> Tensor:
    winograd.kernels()  # what cannot be compiled is to fail here, and not in the first step
    values: Tensor = winograd.filters(weight)
    return values


def _by_tiles(x: Tensor, weight: Tensor, geometry: _Geometry) -> bool:
    """Return whether a convolution is one that tiles compute, and faster."""
    ones = {*geometry.stride, *geometry.padding, *geometry.dilation, geometry.groups}
    if tuple(weight.shape[2:]) != (3, 3) or ones != {1} or any(geometry.output_padding):
        return False
    if x.dtype not in winograd.DTYPES or not winograd.AVAILABLE:
        return False
    images = x.shape[0] if isinstance(x.shape[0], int) else _ANY_NUMBER
    down, right = (-(-side // winograd.TILE) for side in x.shape[2:])
    return min(weight.shape[:2]) >= _FEWEST_CHANNELS and images * down * right >= _FEWEST_TILES


FORMULAS: dict[OpOverload[..., Any], Callable[..., Any]] = {
    torch.ops.aten.convolution.default: _convolution,
    torch.ops.aten.convolution_backward.default: _convolution_backward,
}
"""Of operators of torch on a CPU, each of which declines what it is not for (a table of decompositions)."""
