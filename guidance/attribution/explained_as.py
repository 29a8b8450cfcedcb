"""A value that is explained as if it had been computed in another way."""

from typing import Any

import torch
from torch import Tensor

from guidance.models.dynamic_factors import explaining


class _ExplainedAs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, surrogate: Tensor, epsilon: float, constant: bool) -> Tensor:
        ctx.save_for_backward(value, surrogate)
        ctx.epsilon, ctx.constant = epsilon, constant
        # What follows may write in place (ReLU), which must not reach the value that was saved.
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        if not explaining():
            return gradient, None, None, None
        value, surrogate = (x.detach() if ctx.constant else x for x in ctx.saved_tensors)
        return None, gradient * (value.abs() / (surrogate.abs() + ctx.epsilon)), None, None


def explained_as(value: Tensor, surrogate: Tensor, epsilon: float, constant: bool = False) -> Tensor:
    """Return a value that explanations trace back through a surrogate, in proportion to its parts.

    The relevance ``R = value * g`` of the value, g being the gradient that reaches it, becomes the gradient
    ``R / surrogate`` of the surrogate, stabilised by epsilon. So every part ``p`` that the surrogate is a sum
    of gets its share ``p / surrogate`` of R. That holds inside
    :func:`guidance.models.explanation_backward`; in any other backward pass the value has its own gradient
    and the surrogate none.

    Args:
        value: Any shape.
        surrogate: Of that shape; of the value's sign or 0. It may be the value itself.
        epsilon: Positive; takes the share ``epsilon / (|surrogate| + epsilon)`` of the relevance away.
        constant: Whether the factor ``value / surrogate`` is a constant for a loss of the explanation too,
            as it always is for the explanation itself; otherwise the loss is differentiated through it.

    Returns:
        The value, in memory of its own. Where it is 0 nothing is traced back.
    """
    out: Tensor = _ExplainedAs.apply(value, surrogate, epsilon, constant)
    return out
