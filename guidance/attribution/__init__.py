"""Attribution maps: which positions of a layer speak for a class. Twice differentiable."""

from guidance.attribution.attributor import Attributor
from guidance.attribution.bcos import BcosContributions
from guidance.attribution.grad_cam import GradCAM
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.layers import find_layer, forward_with_activation
from guidance.attribution.pairs import attribute_pairs

__all__ = [
    "Attributor",
    "BcosContributions",
    "GradCAM",
    "InputXGradient",
    "attribute_pairs",
    "find_layer",
    "forward_with_activation",
]
