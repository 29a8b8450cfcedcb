"""Convolutions and their gradients as layers call them: by kernels of our own where these are in use.

In use they are in :func:`guidance.models.cpu_kernels`, on a CPU; which of them compute what is in
:mod:`guidance.models.convolution_formulas`. All else is torch's, and so is what a compiler is going to see,
whose program calls the kernels by the same formulas.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models import convolution_formulas, kernels
from guidance.models.convolution_formulas import Geometry


def convolution(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Convolve as torch's ``conv2d`` or ``conv_transpose2d`` does, without a bias and without a derivative.

    Args:
        x: [N, C, H, W]; of a transposed convolution [N, C', H, W].
        weight: [C', C / groups, h, w].
        geometry: Of the convolution.
    """
    found = (
        convolution_formulas.convolution(x, weight, None, *geometry)
        if kernels.in_use_for(x)
        else NotImplemented
    )
    convolved: Tensor = _by_torch(x, weight, geometry) if found is NotImplemented else found
    return convolved


def gradients_of_filters(outputs: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradients of a convolution's filters, [C', C / groups, h, w].

    They have a derivative of their own if gradients are enabled, and then are torch's.

    Args:
        outputs: The gradient of its output, or the input of a transposed one: [N, C', H', W'].
        inputs: Its input, or the gradient of the transposed one's output: [N, C, H, W].
        weight: The filters; their values do not matter.
        geometry: Of the convolution.
    """
    found = NotImplemented
    if kernels.in_use_for(outputs) and not torch.is_grad_enabled():
        found = convolution_formulas.gradients_of_filters(outputs, inputs, weight, geometry)
    if found is NotImplemented:
        gradient, x = (inputs, outputs) if geometry.transposed else (outputs, inputs)
        wanted = [False, True, False]
        found = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, wanted)[1]
    gradients: Tensor = found
    return gradients


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.geometry = geometry
        ctx.save_for_backward(x, weight)
        return convolution(x, weight, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        of_x = of_weight = None
        if needs_x:
            of_x = _back_through_transposed(gradient, weight, ctx.geometry)
        if needs_weight:
            of_weight = gradients_of_filters(x, gradient, weight, ctx.geometry)
        return of_x, of_weight, None


def transposed(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Convolve as ``torch.nn.functional.conv_transpose2d`` does, without a bias; twice differentiable.

    Args:
        x: [N, C', H', W'].
        weight: [C', C / groups, h, w].
        geometry: A transposed one.
    """
    if kernels.in_use_for(x):
        out: Tensor = _Transposed.apply(x, weight, geometry)
        return out
    return _by_torch(x, weight, geometry)


def _back_through_transposed(gradient: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    stride, padding, dilation, _, _, groups = geometry
    convolve = _by_torch if torch.is_grad_enabled() else convolution
    return convolve(gradient, weight, Geometry(stride, padding, dilation, groups=groups))


def _by_torch(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    stride, padding, dilation, transposed, output_padding, groups = geometry
    if transposed:
        return F.conv_transpose2d(x, weight, None, stride, padding, output_padding, groups, dilation)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups)
