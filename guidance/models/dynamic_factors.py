"""Dynamic factors: what makes a B-cos network more than linear, and how an explanation holds them constant.

In a dynamic linear network every layer multiplies a linear map of its input by dynamic factors: powers of
cosines, inverse standard deviations and attention weights in a B-cos network, whole weight vectors in a CoDA
network. Its explanation W(x) is the gradient of a logit with the factors held constant. To train on it, the
loss must still reach the factors. So they are not detached in the forward pass:

* :func:`dynamic_scale` and :func:`dynamic_matmul` leave the factor's gradient out only while
  :func:`explanation_backward` is active, that is, in the explanation's own backward pass. One forward pass
  then serves the logits, the explanation, and the gradients of both.
* A tape (:class:`guidance.models.factor_tape.FactorTape`) keeps the factors of a forward pass. Played back,
  they make the network a linear map, which explains any rows of the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from guidance.models.closed_forms import is_of_channels, scaled, sum_of_products
from guidance.models.factor_tape import playing
from guidance.models.plain_formulas import for_compiler

_explaining = False
_explanation_dtype: torch.dtype | None = None


@contextmanager
def explanation_backward(dtype: torch.dtype | None = None) -> Iterator[None]:
    """Hold all dynamic factors constant in the backward passes that run inside this context.

    The setting belongs to the process, not to a thread: autograd runs CUDA backwards in threads of its own.

    Args:
        dtype: In which linear maps (convolutions, products with weights and with attention) are gone back
            through, and differentiated; what passes between them keeps its type. None: in their own.
    """
    global _explaining, _explanation_dtype
    previous = _explaining, _explanation_dtype
    _explaining, _explanation_dtype = True, dtype
    try:
        yield
    finally:
        _explaining, _explanation_dtype = previous


def explaining() -> bool:
    """Return whether :func:`explanation_backward` is active: for layers with a backward of their own."""
    return _explaining


def explained_input(x: Tensor) -> Tensor:
    """Mark a tensor as one that explanations end at, such as the image itself, and return it.

    The layer that takes it computes its gradient within :func:`explanation_backward` alone. A loss has none
    there that anybody wants, and it would take as long as the layer itself.
    """
    x.explained_input = True  # type: ignore[attr-defined]
    return x


def is_explained_input(x: Tensor) -> bool:
    """Return whether a tensor was marked by :func:`explained_input`."""
    return getattr(x, "explained_input", False)


def for_explanation(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast the factors of a product to the type in which :func:`explanation_backward` is to compute it."""
    if _explanation_dtype is None:
        return tensors
    return tuple(tensor.to(_explanation_dtype) for tensor in tensors)


class DynamicLinear:
    """Marks the layers that are linear but for dynamic factors, which :func:`explanation_backward` holds.

    A network with such layers can be explained by its dynamic linear map.
    """


class _DynamicScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        only_explained(ctx)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] and not ctx.only_explained else None, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if has_no_gradient(ctx):
            return None, None
        x, factor = ctx.saved_tensors
        (gradient,) = gradients
        needs_x, needs_factor = ctx.needs_input_grad
        factor_gradient = None
        if needs_factor and not _explaining:
            if is_of_channels(factor, x):
                factor_gradient = sum_of_products(gradient, x)[:, None, None]
            else:
                factor_gradient = (gradient * x).sum_to_size(factor.shape)
        return (scaled(gradient, factor) if needs_x else None), factor_gradient


def dynamic_scale(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a dynamic factor, which :func:`explanation_backward` treats as a constant.

    Args:
        x: Of any shape, e.g. [N, C, H, W].
        factor: Broadcastable to ``x``.

    Returns:
        ``x * factor``, twice differentiable in both.
    """
    if playing() and not torch.is_grad_enabled():
        return x  # nothing is read of it
    out: Tensor = _DynamicScale.apply(x, of_each_image(factor, x))
    return out


def of_each_image(factor: Tensor, x: Tensor) -> Tensor:
    """Repeat a factor that all images share for each of those that are explained, for a compiler.

    Its gradient is then summed over positions first, and over images afterwards. A compiler sums in one way
    or another depending on how many values there are, which is thus the same for any number of images. What
    is not compiled, or does not come from a tape, stays as it is.

    Args:
        factor: A dynamic factor or a weight, broadcastable to ``x``.
        x: [N, ...].

    Returns:
        The factor, broadcastable to ``x``.
    """
    if not (playing() and for_compiler()) or factor.ndim >= x.ndim:
        return factor
    ones = [1] * (x.ndim - 1 - factor.ndim)
    return factor.expand(x.shape[0], *ones, *factor.shape)


class _DynamicMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factor: Tensor, x: Tensor) -> Tensor:
        only_explained(ctx)
        if ctx.only_explained:
            ctx.save_for_backward(factor, None)
            return x.new_zeros(*x.shape[:-2], *factor.shape[-2:-1], x.shape[-1])
        ctx.save_for_backward(factor, x)
        return factor @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if has_no_gradient(ctx):
            return None, None
        factor, x = ctx.saved_tensors
        (gradient,) = gradients
        needs_factor, needs_x = ctx.needs_input_grad
        factor_gradient = gradient @ x.mT if needs_factor and not _explaining else None
        if not needs_x:
            return factor_gradient, None
        left, right = for_explanation(factor, gradient)
        return factor_gradient, (left.mT @ right).to(gradient.dtype)


def dynamic_matmul(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply by a matrix that :func:`explanation_backward` treats as a constant.

    Args:
        factor: [..., T, S].
        x: [..., S, D], with the same leading dimensions.

    Returns:
        ``factor @ x``, [..., T, D] in the dtype of ``x``, twice differentiable in both.
    """
    out: Tensor = _DynamicMatmul.apply(factor.to(x.dtype), x)
    return out


def only_explained(ctx: Any) -> None:
    """Note in the context of a function whether its output, made while a tape plays, has no meaning."""
    ctx.only_explained = playing()
    ctx.set_materialize_grads(not ctx.only_explained)


def has_no_gradient(ctx: Any) -> bool:
    """Return whether a backward pass reached such an output in another way than by an explanation.

    It did so with zeros: the derivatives of pooling's gradient, for example, have some for pooling's input.
    """
    return bool(ctx.only_explained) and not _explaining
