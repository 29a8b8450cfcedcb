"""Linear maps whose gradients are ordinary linear maps, so that they are fast to differentiate twice.

The second derivative of a convolution, as torch has it, computes the gradient of the weight by convolutions
with kernels as large as the image. Here the gradient of the input is a transposed convolution like any other,
whose own derivatives are ordinary first ones.

While :func:`guidance.models.explanation_backward` is active no gradient of a weight is computed. While a
:class:`~guidance.models.factor_tape.FactorTape` plays, the maps return zeros, with the right gradients.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models.convolution_formulas import Geometry
from guidance.models.convolutions import convolution, gradients_of_filters
from guidance.models.dynamic_factors import (
    explaining,
    for_explanation,
    has_no_gradient,
    is_explained_input,
    only_explained,
)
from guidance.models.transposed_convolution import Pair, transposed_convolution

_FEW_CHANNELS = 16
"""With fewer, oneDNN 3.12 (torch 2.14) writes past its memory in the gradient of a 1x1 filter with a stride,
channels last: results are wrong, or the process dies. https://github.com/uxlfoundation/oneDNN/issues/6035"""


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry, explained_input: bool) -> Tensor:
        ctx.geometry = geometry
        ctx.explained_input = explained_input
        ctx.size = x.shape[2:]
        only_explained(ctx)
        if ctx.only_explained:
            ctx.save_for_backward(None, weight)
            return _zeros(x, weight, geometry)
        ctx.save_for_backward(x, weight)
        return convolution(x, weight, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        if has_no_gradient(ctx):
            return None, None, None, None
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        of_x = of_weight = None
        if needs_x and (explaining() or not ctx.explained_input):
            back, filters = for_explanation(gradient, weight)
            of_x = transposed_convolution(back, filters, ctx.size, ctx.geometry).to(gradient.dtype)
        if needs_weight and not explaining():
            of_weight = gradients_of_filters(gradient, x, weight, ctx.geometry)
        return of_x, of_weight, None, None


def convolve(
    x: Tensor,
    weight: Tensor,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolve as ``torch.nn.functional.conv2d`` does, without a bias.

    Args:
        x: [N, C, H, W].
        weight: [C', C / groups, h, w].
        stride: Stride.
        padding: Zero padding.
        dilation: Dilation.
        groups: Groups.

    Returns:
        [N, C', H', W'], twice differentiable.
    """
    explained_input = is_explained_input(x)
    if weight.shape[1] < _FEW_CHANNELS and weight.shape[2:] == (1, 1) and padding == (0, 0):
        x, stride = x[:, :, :: stride[0], :: stride[1]], (1, 1)
    operands = _of_one_type(x, weight)
    geometry = Geometry(stride, padding, dilation, groups=groups)
    out: Tensor = _Convolution.apply(*operands, geometry, explained_input)
    return out


class _Multiplication(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        only_explained(ctx)
        if ctx.only_explained:
            ctx.save_for_backward(None, weight)
            return x.new_zeros(*x.shape[:-1], weight.shape[0])
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if has_no_gradient(ctx):
            return None, None
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_weight = ctx.needs_input_grad
        of_weight = None
        if needs_weight and not explaining():
            of_weight = gradient.flatten(0, -2).mT @ x.flatten(0, -2)
        if not needs_x:
            return None, of_weight
        left, right = for_explanation(gradient, weight)
        return (left @ right).to(gradient.dtype), of_weight


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply vectors by a matrix, as ``torch.nn.functional.linear`` does without a bias.

    Args:
        x: [..., C].
        weight: [C', C].

    Returns:
        [..., C'], twice differentiable.
    """
    out: Tensor = _Multiplication.apply(*_of_one_type(x, weight))
    return out


class _AveragePool(torch.autograd.Function):
    """Pooling whose gradient depends on the sizes of its input alone.

    In torch's own it depends on the input, by zeros as large as it: they would be added to the gradient of a
    loss on explanations, with channels first.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Pair, stride: Pair, padding: Pair, others: tuple[bool, bool, int | None]
    ) -> Tensor:
        only_explained(ctx)
        ctx.geometry = kernel, stride, padding, *others
        ctx.save_for_backward(x)
        return F.avg_pool2d(x, *ctx.geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        if has_no_gradient(ctx):
            return None, None, None, None, None
        (x,) = ctx.saved_tensors
        of_x: Tensor = torch.ops.aten.avg_pool2d_backward(*gradients, x.detach(), *ctx.geometry)
        return of_x, None, None, None, None


def average_pool(
    x: Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Tensor:
    """Pool as ``torch.nn.functional.avg_pool2d`` does.

    Args:
        x: [N, C, H, W].
        kernel: Height and width of a window.
        stride: Stride.
        padding: Zero padding.
        ceil_mode: Whether windows may begin inside and end outside.
        count_include_pad: Whether means are over zeros of the padding too.
        divisor: To divide sums by in place of the number of pixels.

    Returns:
        [N, C, H', W'], twice differentiable.
    """
    others = ceil_mode, count_include_pad, divisor
    out: Tensor = _AveragePool.apply(x, kernel, stride, padding, others)
    return out


def _of_one_type(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cast as autocast would: inside a function of our own it would cast unseen by the backward pass."""
    device = x.device.type
    available = torch.amp.is_autocast_available(device)
    if available and torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        return x.to(dtype), weight.to(dtype)
    return x, weight


def _zeros(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return zeros of the shape of a convolution's output, in the memory format of its input."""
    size = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, s, p, d, k in zip(x.shape[2:], *geometry[:3], weight.shape[2:], strict=True)
    ]
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    # len() would be a number, where a compiler is to see how many images there are.
    zeros = torch.zeros(x.shape[0], weight.shape[0], *size, dtype=x.dtype, device=x.device)
    return zeros.to(memory_format=layout)
