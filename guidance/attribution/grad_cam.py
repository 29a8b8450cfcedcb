"""Grad-CAM."""

from collections.abc import Sequence

from torch import Tensor

from guidance.attribution.attributor import GradientAttributor


class GradCAM(GradientAttributor):
    """``ReLU(sum_c w_c * a_c)``, where w_c is the mean over positions of ``d logit / d a_c``.

    Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2, at any layer.

    Args:
        layer: Where the map is taken.
        relu: Whether to leave out negative evidence, as the paper does.
    """

    def __init__(self, layer: str | Sequence[str] = "final", relu: bool = True) -> None:
        super().__init__(layer)
        self.relu = relu

    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Return [N, h, w]."""
        maps = (activation * self.weights(activation, gradient)).sum(dim=1)
        return maps.relu() if self.relu else maps

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Return w, broadcastable to [N, C, h, w]."""
        return gradient.mean(dim=(2, 3), keepdim=True)
