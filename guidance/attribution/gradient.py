"""The gradient."""

from collections.abc import Sequence

from torch import Tensor

from guidance.attribution.attributor import GradientAttributor


class Gradient(GradientAttributor):
    """``sum_c d logit / d a_c`` at every position of a layer's activation a, with its sign.

    Simonyan et al., "Deep Inside Convolutional Networks" (arXiv 1312.6034), at any layer. The paper shows the
    largest absolute value over channels; the sum keeps what speaks against the class apart from what speaks
    for it. Of an activation that nothing but layer norms over channels read, as between the blocks of a
    vision transformer, the sum is 0: such a norm does not see a constant that is added to all channels.

    Args:
        layer: Where the map is taken.
    """

    def __init__(self, layer: str | Sequence[str] = "input") -> None:
        super().__init__(layer)

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Return [N, h, w]."""
        return gradient.sum(dim=1)
