"""The scale of a batch norm that does not centre: the inverse standard deviation of each channel."""

from typing import Any

import torch
from torch import Tensor

from guidance.models.batch_moments import batch_moments, over_processes
from guidance.models.closed_forms import scaled, sum_of_products
from guidance.models.dynamic_factors import explaining


def variance_scale(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Multiply by ``weight / sqrt(var + eps)``, a dynamic factor, of the batch of all processes.

    Args:
        x: [N, C, H, W].
        weight: [C].
        eps: Added to the variance.

    Returns:
        What is scaled, of the shape of ``x``, twice differentiable; the factor, [C, 1, 1], through which a
        loss on explanations reaches ``x`` and ``weight``; the biased variance, [C], which has no gradient.
    """
    scaled, factor, variance = _VarianceScale.apply(x, weight, eps)
    return scaled, factor, variance


class _VarianceScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean, values = batch_moments(x)
        inverse = (variance + eps).rsqrt()
        factor = (weight.to(variance.dtype) * inverse)[:, None, None]
        ctx.eps, ctx.values = eps, values
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(variance)
        ctx.save_for_backward(x, weight, factor, mean, inverse)
        return x * factor, factor, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        of_scaled, of_factor, _ = gradients
        x, weight, factor, mean, inverse = ctx.saved_tensors
        if explaining():
            return (None if of_scaled is None else scaled(of_scaled, factor)), None, None
        if of_scaled is None:
            if of_factor is None:
                return None, None, None
            total = of_factor[:, 0, 0]
        else:
            total = sum_of_products(of_scaled, x)
            if of_factor is not None:
                total = total + of_factor[:, 0, 0]
        if torch.is_grad_enabled():
            # What was computed in the forward pass knows nothing of x.
            variance, mean, _ = batch_moments(x)
            inverse = (variance + ctx.eps).rsqrt()
        of_variance = over_processes(total * weight * inverse.pow(3) / -2)
        slope = 2 / ctx.values * of_variance
        shift = (-slope * mean)[:, None, None]
        slope = slope[:, None, None]
        if of_scaled is None:
            of_x = torch.addcmul(shift, slope, x)
        else:
            of_x = torch.addcmul(shift, factor, of_scaled).addcmul_(slope, x)
        return of_x, total * inverse, None
