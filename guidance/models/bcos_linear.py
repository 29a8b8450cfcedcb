"""B-cos transform of vectors, e.g. of tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.models.bcos_layers import DynamicLinear, cosine_scale


class _UnitNormLinear(nn.Linear):
    """Linear map whose rows are divided by their norm. Holds the weight under the name ``bcos`` uses."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / torch.linalg.vector_norm(self.weight, dim=1, keepdim=True))


class BcosLinear(DynamicLinear, nn.Module):
    """B-cos linear map: ``|cos(x, w)|^(B-1) * (w_hat . x)`` of every vector x, for every row w.

    Böhle et al., "B-cos Networks", CVPR 2022 (arXiv 2205.10268), as used in the B-cos transformers of arXiv
    2306.10898. State dicts are those of the package ``bcos``: one tensor ``linear.weight``. A vector of
    zeros is mapped to zeros.

    Args:
        in_features: Length of the input vectors.
        out_features: Length of the output vectors.
        bias: Only False is possible; there for builders that pass it.
        b: The exponent B >= 1. With 1 the layer is linear.

    Raises:
        ValueError: If ``b`` < 1 or a bias is asked for.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False, b: float = 2) -> None:
        super().__init__()
        if b < 1:
            raise ValueError(f"B must be at least 1; got {b}")
        if bias:
            raise ValueError("a B-cos linear map has no bias")
        self.b = b
        self.linear = _UnitNormLinear(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to [..., C']."""
        out: Tensor = self.linear(x)
        squares = (x if x.dtype == torch.float64 else x.float()).square()
        # Under the root, where the stabiliser keeps the second derivative finite at a vector of zeros.
        norm = (squares.sum(-1, keepdim=True) + 1e-24).sqrt()
        return cosine_scale(out, norm, self.b)

    def extra_repr(self) -> str:
        """Return B."""
        return f"B={self.b:g}"
