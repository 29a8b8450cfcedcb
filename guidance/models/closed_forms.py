"""Parts of dynamic factors whose derivatives have a closed form of few passes over an activation.

All are twice differentiable. An explanation holds the factors constant, so that no gradient arrives here; the
functions then have none either, instead of one of zeros. What a compiler sees is the plain formula.
"""

from typing import Any

import torch
from torch import Tensor

from guidance.models import channel_sums
from guidance.models.plain_formulas import for_compiler


def _norms(weight: Tensor) -> Tensor:
    """Return the norms of filters, of sums in float64: in float32 thousands of squares round many times."""
    exact = _exact(weight)
    if for_compiler():
        squares = weight.to(exact).square().sum(tuple(range(1, weight.ndim)), keepdim=True)
        return squares.sqrt().to(weight.dtype)
    others = tuple(range(1, weight.ndim))
    norms: Tensor = torch.linalg.vector_norm(weight, dim=others, keepdim=True, dtype=exact)
    return norms.to(weight.dtype)


def _exact(x: Tensor) -> torch.dtype:
    """Return the most exact type that a device has."""
    return torch.float32 if x.device.type == "mps" else torch.float64


class _UnitNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        unit: Tensor = weight / _norms(weight)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, unit)
        return unit

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor | None:
        (gradient,) = gradients
        if gradient is None:
            return None
        weight, unit = ctx.saved_tensors
        others = tuple(range(1, weight.ndim))
        norm = _norms(weight)
        along = (gradient * unit).sum(others, keepdim=True)
        of_weight: Tensor = (gradient - unit * along) / norm
        return of_weight


def unit_norm(weight: Tensor) -> Tensor:
    """Divide filters [C', ...] by their Euclidean norms, which are rounded once."""
    if for_compiler():
        return weight / _norms(weight)
    out: Tensor = _UnitNorm.apply(weight)
    return out


class _SquaredNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        norm: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
        return norm.square_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        (gradient,) = gradients
        if gradient is None:
            return None, None
        (x,) = ctx.saved_tensors
        return x * (2 * gradient), None


def squared_norm(x: Tensor, dim: int) -> Tensor:
    """Return the sum of squares along a dimension, which stays with size 1, at least float32."""
    x = x if x.dtype == torch.float64 else x.float()
    if for_compiler():
        return x.square().sum(dim, keepdim=True)
    out: Tensor = _SquaredNorm.apply(x, dim)
    return out


class _VarianceAndMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        if channel_sums.takes(x):
            variance, mean = channel_sums.moments(x, None)
        else:
            mean = x.mean((0, 2, 3))
            # torch.var takes ten times as long as a product does (torch 2.14 on a CPU). Its batch norm is
            # faster than this, but adds up one value after the other, which rounds many times as much.
            variance = (x - mean[:, None, None]).square_().mean((0, 2, 3))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mean)
        return variance, mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensor | None:
        x, mean = ctx.saved_tensors
        of_variance, of_mean = gradients
        count = x.numel() / x.shape[1]
        if of_variance is None:
            return None if of_mean is None else (of_mean / count)[:, None, None].expand_as(x)
        slope = 2 / count * of_variance
        shift = -slope * mean if of_mean is None else of_mean / count - slope * mean
        return torch.addcmul(shift[:, None, None], slope[:, None, None], x)


def variance_and_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the biased variance and the mean per channel of [N, C, H, W], each [C], at least float32."""
    x = x if x.dtype == torch.float64 else x.float()
    if for_compiler():
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
        return variance, mean
    variance, mean = _VarianceAndMean.apply(x)
    return variance, mean


class _ChannelScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, factor = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_factor = ctx.needs_input_grad
        of_factor = sum_of_products(gradient, x)[:, None, None] if needs_factor else None
        return (gradient * factor if needs_x else None), of_factor


def is_of_channels(factor: Tensor, x: Tensor) -> bool:
    """Return whether a factor [C, 1, 1] multiplies channels of maps [N, C, H, W]."""
    # The size of a batch must not be compared where a compiler is to see any number of images.
    return (x.ndim, factor.ndim) == (4, 3) and factor.shape == (x.shape[1], 1, 1)


def scaled(x: Tensor, factor: Tensor) -> Tensor:
    """Return ``x * factor``; the gradient of a factor of channels is a :func:`sum_of_products`."""
    if not is_of_channels(factor, x) or for_compiler():
        return x * factor
    out: Tensor = _ChannelScale.apply(x, factor)
    return out


def sum_of_products(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of ``x * y`` over batch and positions of maps [N, C, H, W], [C]."""
    if channel_sums.takes(x, y):
        sums: Tensor = channel_sums.products(x, y, None, None)
        return sums
    return (x * y).sum((0, 2, 3))
