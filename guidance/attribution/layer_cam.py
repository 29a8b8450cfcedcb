"""Layer-CAM."""

from torch import Tensor

from guidance.attribution.grad_cam import GradCAM


class LayerCAM(GradCAM):
    """``ReLU(sum_c ReLU(d logit / d a_c) * a_c)``: every position has weights of its own.

    Jiang et al., "LayerCAM", IEEE TIP 2021, equations 5 to 7, at any layer; unlike Grad-CAM it is made for
    early ones too.

    Args:
        layer: Where the map is taken.
        relu: Whether to leave out negative evidence, as the paper does; there is none where activations are
            not negative.
    """

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Return w [N, C, h, w]."""
        return gradient.relu()
