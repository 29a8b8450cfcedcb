"""Self-attention of B-cos transformers, whose weights are a dynamic factor."""

from torch import Tensor, nn

from guidance.models.bcos_linear import BcosLinear
from guidance.models.bcos_norm import BiasFreeLayerNorm
from guidance.models.dynamic_factors import DynamicLinear, dynamic_matmul
from guidance.models.factor_tape import recorded
from guidance.models.linear_maps import multiply


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
        qkv = multiply(self.norm(tokens), self.to_qkv.weight).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [N, heads, T, D]
        # Fused attention has no second derivative.
        attention = recorded(lambda: (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1))
        out: Tensor = self.to_out(dynamic_matmul(attention, v).transpose(1, 2).flatten(2))
        return out

    def extra_repr(self) -> str:
        """Return the number of heads."""
        return f"heads={self.heads}"
