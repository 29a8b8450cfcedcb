"""Input x Gradient."""

from collections.abc import Sequence

from torch import Tensor

from guidance.attribution.attributor import GradientAttributor


class InputXGradient(GradientAttributor):
    """``sum_c a_c * d logit / d a_c`` at every position of a layer's activation a.

    Shrikumar et al., "Not just a black box" (arXiv 1605.01713), at any layer.

    Args:
        layer: Where the map is taken.
    """

    def __init__(self, layer: str | Sequence[str] = "input") -> None:
        super().__init__(layer)

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Return [N, h, w]."""
        return (activation * gradient).sum(dim=1)
