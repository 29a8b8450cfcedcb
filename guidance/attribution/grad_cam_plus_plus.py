"""Grad-CAM++."""

from torch import Tensor

from guidance.attribution.grad_cam import GradCAM


class GradCAMPlusPlus(GradCAM):
    """``ReLU(sum_c w_c * a_c)``, where w_c weights the positive gradients by how much of a_c they explain.

    Chattopadhay et al., "Grad-CAM++", WACV 2018, equations 10, 11 and 19: with the score ``exp(logit)`` and
    the gradient g of the logit, whose own derivative is 0 in a piecewise linear network, ::

        w_c = sum over positions of alpha_c * ReLU(g_c),   alpha_c = g_c^2 / (2 g_c^2 + g_c^3 sum a_c)

    The factor ``exp(logit)`` of every gradient is left out: it scales an image's whole map and overflows.
    Where the gradient is positive alpha is ``1 / (2 + g_c sum a_c)``, elsewhere it plays no part.

    The paper takes non-negative activations. Of others only the positive part is in that sum, so that alpha
    stays in (0, 1/2] and has no pole.

    Args:
        layer: Where the map is taken.
        relu: Whether to leave out negative evidence, as the paper does.
    """

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Return w [N, C, 1, 1]."""
        positive = gradient.relu()
        alpha = 1 / (2 + positive * activation.relu().sum(dim=(2, 3), keepdim=True))
        return (alpha * positive).sum(dim=(2, 3), keepdim=True)
