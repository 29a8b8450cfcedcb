"""What compiles a program: torch's compiler, with convolutions and sums on a CPU by kernels of our own."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule

from guidance.attribution import casts, first_images, graph_nodes, position_sums
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


class _ByKernels(CustomGraphPass):
    """Changes of the graph of a program and its gradients."""

    def __call__(self, graph: Graph) -> None:
        change(graph)

    def uuid(self) -> bytes:
        files = (casts, first_images, graph_nodes, position_sums)
        identity: bytes = get_hash_for_files(tuple(str(file.__file__) for file in files))
        return identity


def change(graph: Graph) -> None:
    """Change the graph of a program and its gradients on a CPU to what is computed faster, and equal."""
    graph_nodes.renew(graph)
    casts.leave_out_detours(graph)
    position_sums.sum_by_kernels(graph)
    first_images.add_in_place(graph)
    graph_nodes.renew(graph)


Backend = str | Callable[..., Any]
"""Of ``torch.compile``: a name, or a function of a graph and its inputs."""


def inductor(graph: GraphModule, inputs: Sequence[Any]) -> Any:
    """Compile a graph as ``torch.compile(backend="inductor")`` does, equal but for rounding.

    On a CPU, convolutions with 3x3 filters, stride 1 and padding 1, and their gradients are computed by
    :mod:`guidance.models.winograd` where channels and pixels are many (in bfloat16 too, and then in float32,
    where no matrix unit is faster), gradients of other filters by
    :mod:`guidance.models.filter_gradients` where channels are many and pixels few, and what goes back
    through a first layer by :mod:`guidance.models.few_channels`. Sums over batch and positions are left to
    :mod:`guidance.models.channel_sums`, and gradients of the first images are added in place.
    """
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    if any(isinstance(each, Tensor) and each.device.type != "cpu" for each in inputs):
        return compile_fx(graph, inputs)
    # Torch keeps what it compiled, and does not look at the formulas.
    files = [Path(__file__), Path(few_channels.__file__)]
    formulas = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    with torch.compiler.config.patch(cache_key_tag=formulas):  # type: ignore[attr-defined]
        return compile_fx(
            graph,
            inputs,
            decompositions={**select_decomp_table(), **FORMULAS},
            config_patches={"joint_custom_post_pass": _ByKernels()},
        )


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
    if bias is not None:
        return NotImplemented
    if geometry.transposed and few_channels.takes(x, weight, geometry.dilation, geometry.groups):
        kernels.library("few_channels")
        parts = zip(x.shape[2:], weight.shape[2:], *geometry[:2], geometry.output_padding, strict=True)
        image = [(out - 1) * step + taps - 2 * padding + left for out, taps, step, padding, left in parts]
        return few_channels.transposed(x, weight, image, geometry.stride, geometry.padding)
    if not _by_tiles(x, weight, geometry):
        return NotImplemented
    channels = weight.shape[1 if geometry.transposed else 0]
    return _by_values(x, weight, _values(weight), channels, geometry.transposed)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, bias: Any, *others: Any) -> Any:
    geometry = _Geometry(*others[:-1])
    wants_x, wants_weight, wants_bias = others[-1]
    if wants_bias:
        return NotImplemented
    if wants_x and _by_tiles(x, weight, geometry):
        values = _values(weight)
        if wants_weight:
            found = winograd.gradients(_exact(gradient), _exact(x), values, geometry.transposed)
            return *(each.to(weight.dtype) for each in found), None
        return _by_values(gradient, weight, values, x.shape[1], not geometry.transposed), None, None
    # The gradient of what a transposed convolution gave is what its filters would be convolved with.
    outputs, inputs = (x, gradient) if geometry.transposed else (gradient, x)
    if not wants_weight:
        return NotImplemented
    if few_channels.takes(outputs, weight, geometry.dilation, geometry.groups):
        kernels.library("few_channels")
        of_weight = few_channels.gradients(
            outputs, inputs, weight.shape[2:], geometry.stride, geometry.padding
        )
    elif _by_panels(outputs, weight, geometry):
        kernels.library("filter_gradients")
        of_weight = filter_gradients.gradients(
            outputs, inputs, weight.shape[2:], geometry.stride[0], geometry.padding[0]
        )
    else:
        return NotImplemented
    of_x = None
    if wants_x and geometry.transposed:
        stride, padding, dilation = geometry[:3]
        of_x = F.conv2d(gradient, weight, None, stride, padding, dilation, geometry.groups)
    elif wants_x:
        backward = torch.ops.aten.convolution_backward
        of_x = backward(gradient, x, weight, bias, *others[:-1], [True, False, False])[0]
    return of_x, of_weight, None


def _values(weight: Tensor) -> Tensor:
    kernels.library("winograd")  # what cannot be compiled is to fail here, and not in the first step
    values: Tensor = winograd.filters(_exact(weight))
    return values


def _by_values(x: Tensor, weight: Tensor, values: Tensor, channels: int, back: bool) -> Tensor:
    out: Tensor = winograd.convolution(_exact(x), values, channels, back)
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


def _by_tiles(x: Tensor, weight: Tensor, geometry: _Geometry) -> bool:
    """Return whether a convolution is one that tiles compute, and faster."""
    ones = {*geometry.stride, *geometry.padding, *geometry.dilation, geometry.groups}
    if tuple(weight.shape[2:]) != (3, 3) or ones != {1} or any(geometry.output_padding):
        return False
    if not _is_for_tiles(x.dtype) or not kernels.AVAILABLE:
        return False
    images = x.shape[0] if isinstance(x.shape[0], int) else _ANY_NUMBER
    down, right = (-(-side // winograd.TILE) for side in x.shape[2:])
    fewest = _FEWEST_TILES_FOR_BFLOAT16 if x.dtype == torch.bfloat16 else _FEWEST_TILES
    return min(weight.shape[:2]) >= _FEWEST_CHANNELS and images * down * right >= fewest


def _by_panels(outputs: Tensor, weight: Tensor, geometry: _Geometry) -> bool:
    """Return whether gradients of filters are ones that products of panels compute, and faster."""
    if outputs.dtype not in kernels.DTYPES or not kernels.AVAILABLE or weight.ndim != 4:
        return False
    if any(channels % kernels.PANEL for channels in weight.shape[:2]):
        return False
    if {*geometry.dilation, geometry.groups} != {1} or len({*geometry.padding}) > 1:
        return False
    if len({*geometry.stride}) > 1:
        return False
    strided, several_taps = geometry.stride[0] > 1, tuple(weight.shape[2:]) != (1, 1)
    if not several_taps and outputs.shape[2] * outputs.shape[3] <= _MOST_PIXELS:
        return True
    if max(weight.shape[2:]) > _LARGEST_FILTER:
        return False
    by_capability = {"AVX2": strided or several_taps, "AVX512": strided and several_taps}
    return by_capability.get(torch.backends.cpu.get_cpu_capability(), False)


FORMULAS: dict[OpOverload[..., Any], Callable[..., Any]] = {
    torch.ops.aten.convolution.default: _convolution,
    torch.ops.aten.convolution_backward.default: _convolution_backward,
}
"""Of operators of torch on a CPU, each of which declines what it is not for (a table of decompositions)."""
