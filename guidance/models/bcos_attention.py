"""Self-attention of B-cos transformers, whose weights are a dynamic factor."""

from typing import Any

import torch
from torch import Tensor, nn

from guidance.models.bcos_layers import DynamicLinear, explaining
from guidance.models.bcos_linear import BcosLinear
from guidance.models.bcos_norm import BiasFreeLayerNorm


class _DynamicMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factor: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(factor, x)
        return factor @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        factor, x = ctx.saved_tensors
        (gradient,) = gradients
        needs_factor, needs_x = ctx.needs_input_grad
        factor_gradient = gradient @ x.mT if needs_factor and not explaining() else None
        return factor_gradient, (factor.mT @ gradient if needs_x else None)


def dynamic_matmul(factor: Tensor, x: Tensor) -> Tensor:
    """Multiply by a matrix that :func:`guidance.models.explanation_backward` treats as a constant.

    Args:
        factor: [..., T, S].
        x: [..., S, D], with the same leading dimensions.

    Returns:
        ``factor @ x``, [..., T, D] in the dtype of ``x``, twice differentiable in both.
    """
    out: Tensor = _DynamicMatmul.apply(factor.to(x.dtype), x)
    return out


class BcosAttention(DynamicLinear, nn.Module):
    """Multi-head self-attention: ``softmax(q k^T / sqrt(D)) v``, then a B-cos linear map.

    Böhle et al., "Holistically Explainable Vision Transformers" (arXiv 2301.08669): q, k and v are plain
    linear maps without bias of the normalised tokens. The attention weights are a dynamic factor: the
    explanation runs through v alone, and a loss on it trains q and k all the same.

    Names in the state dict (``norm``, ``to_qkv``, ``to_out``) are those of the package ``bcos``.

    Args:
        dim: Channels C of a token.
        heads: Number of heads.
        dim_head: Channels D of a head.
    """

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = BiasFreeLayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = BcosLinear(heads * dim_head, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map [N, T, C] to the same shape."""
        qkv = self.to_qkv(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [N, heads, T, D]
        # Fused attention has no second derivative.
        attention = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        out: Tensor = self.to_out(dynamic_matmul(attention, v).transpose(1, 2).flatten(2))
        return out

    def extra_repr(self) -> str:
        """Return the number of heads."""
        return f"heads={self.heads}"
