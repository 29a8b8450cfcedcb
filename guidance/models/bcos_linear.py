"""B-cos transform of vectors, e.g. of tokens."""

from torch import Tensor, nn

from guidance.models.closed_forms import squared_norm, unit_norm
from guidance.models.cosine_scale import cosine_scale
from guidance.models.dynamic_factors import DynamicLinear
from guidance.models.factor_tape import recorded
from guidance.models.linear_maps import multiply


class _UnitNormLinear(nn.Linear):
    """Linear map whose rows are divided by their norm. Holds the weight under the name ``bcos`` uses."""

    def forward(self, x: Tensor) -> Tensor:
        return multiply(x, recorded(lambda: unit_norm(self.weight), of_batch=True))


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
        return cosine_scale(self.linear(x), lambda: _norms(x), self.b)

    def extra_repr(self) -> str:
        """Return B."""
        return f"B={self.b:g}"


def _norms(x: Tensor) -> Tensor:
    """Return the Euclidean norms of vectors [..., C], at least float32, [..., 1]."""
    # Under the root, where the stabiliser keeps the second derivative finite at a vector of zeros.
    return (squared_norm(x, dim=-1) + 1e-24).sqrt()
