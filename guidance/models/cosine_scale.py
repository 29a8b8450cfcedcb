"""The B-cos transform: what makes of a linear map one whose outputs are scaled by powers of cosines."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from guidance.models import bcos_transform
from guidance.models.dynamic_factors import dynamic_scale, explaining
from guidance.models.factor_tape import RowGradients, keep_factor, playing, recorded_of
from guidance.models.plain_formulas import for_compiler
from guidance.models.rows import add_to_rows, take_rows


def cosine_scale(out: Tensor, norm: Callable[[], Tensor], b: float) -> Tensor:
    """Turn the linear map ``out = w_hat . x`` into the B-cos transform ``|cos(x, w)|^(B-1) * out``.

    Böhle et al., CVPR 2022, equation 3; the power of the cosine is a dynamic factor.

    Args:
        out: What filters of norm 1 return, [N, ...].
        norm: Computes the positive norms of the filters' inputs x, [N, ...], broadcastable to ``out``.
        b: The exponent B. With 1 the layer is linear.

    Returns:
        Of the shape of ``out``, twice differentiable.
    """
    if b == 1:
        return out
    if b != 2 or playing() or for_compiler():
        return dynamic_scale(out, recorded_of(partial(_power_of_cosine, b=b), lambda: (out, norm())))
    of_rows: RowGradients = []
    scaled: Tensor
    scaled, factor, wait = _CosineScale.apply(out, norm(), of_rows)
    keep_factor(factor, wait, of_rows)
    return scaled


def _power_of_cosine(out: Tensor, norm: Tensor, b: float) -> Tensor:
    if b == 2:
        return out.abs() / norm
    return ((out / norm).abs() + 1e-6).pow(b - 1)


class _CosineScale(torch.autograd.Function):
    """``out * factor`` and the factor ``|out| / norm``, with a derivative of few passes over memory.

    Gradients that explanations of some rows leave in the list, as in ``factor_tape``, are the factor's;
    what these explanations are to wait for is the last output.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, norm: Tensor, of_rows: RowGradients) -> tuple[Tensor, Tensor, Tensor]:
        if bcos_transform.takes(out, norm):
            scaled, factor = bcos_transform.transform(out, norm)
        else:
            factor = _over(out.abs(), norm)
            scaled = out * factor
        ctx.set_materialize_grads(False)
        ctx.of_rows = of_rows
        ctx.save_for_backward(out, factor, norm)
        return scaled, factor, factor.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        of_scaled, of_factor, _ = gradients
        out, factor, norm = ctx.saved_tensors
        if explaining():
            return (None if of_scaled is None else of_scaled * factor), None, None
        of_out = of_norm = None
        if of_scaled is not None:
            of_out, of_norm = _of_scaled(of_scaled, of_factor, out, factor, norm)
        elif of_factor is not None:
            of_out, of_norm = _of_factor(of_factor, out, factor, norm)
        while ctx.of_rows:
            rows, of_some = ctx.of_rows.pop()
            of_out = torch.zeros_like(factor) if of_out is None else of_out
            of_norm = torch.zeros_like(norm) if of_norm is None else of_norm
            some = [take_rows(one, rows) for one in (out, factor, norm)]
            each = _of_factor(of_some, some[0], some[1], some[2])
            of_out, of_norm = add_to_rows(of_out, rows, each[0]), add_to_rows(of_norm, rows, each[1])
        return of_out, of_norm, None


def _of_scaled(
    gradient: Tensor, of_factor: Tensor | None, out: Tensor, factor: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``out`` and ``norm`` by that of ``out * factor``, and another of the factor."""
    if bcos_transform.takes(out, norm):
        return _by_kernel(gradient, of_factor, out, norm)
    if of_factor is None:
        through = gradient * factor
        of_norm = (through * out).sum_to_size(norm.shape) / -norm
        # Twice: as what is scaled, and as a part of the factor.
        return _times(through, 2), of_norm
    of_out, of_norm = _of_factor(torch.addcmul(of_factor, gradient, out), out, factor, norm, owned=True)
    return of_out.addcmul_(gradient, factor), of_norm


def _of_factor(
    gradient: Tensor, out: Tensor, factor: Tensor, norm: Tensor, owned: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``out`` and ``norm`` by that of ``factor = |out| / norm``.

    It may be overwritten if it is ``owned``: if nobody else holds it.
    """
    if bcos_transform.takes(out, norm):
        return _by_kernel(None, gradient, out, norm)
    of_out = _times(_over(out.sgn(), norm), gradient)
    weighted = _times(gradient, factor) if owned else gradient * factor
    return of_out, weighted.sum_to_size(norm.shape) / -norm


def _by_kernel(
    of_scaled: Tensor | None, of_factor: Tensor | None, out: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    of_out, of_norm = bcos_transform.gradients(of_scaled, of_factor, out, norm)
    return of_out, of_norm


def _times(x: Tensor, y: Tensor | float) -> Tensor:
    """Multiply what nobody else holds: in place, unless what is computed is to be differentiated.

    Memory that was written just before is faster to write to again than other memory is for the first time.
    """
    return x * y if torch.is_grad_enabled() else x.mul_(y)


def _over(x: Tensor, norm: Tensor) -> Tensor:
    """Divide, as :func:`_times` multiplies."""
    return x / norm if torch.is_grad_enabled() else x.to(torch.result_type(x, norm)).div_(norm)
