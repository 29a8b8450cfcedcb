"""Attribution maps: which positions of a layer speak for a class. Twice differentiable."""

from guidance.attribution.attributor import Attributor, GradientAttributor, cannot_guide
from guidance.attribution.bcos import BcosContributions
from guidance.attribution.forward_pass import ForwardPass, run_model
from guidance.attribution.grad_cam import GradCAM
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.layers import find_layer
from guidance.attribution.pairs import attribute_pairs

__all__ = [
    "Attributor",
    "BcosContributions",
    "ForwardPass",
    "GradCAM",
    "GradientAttributor",
    "InputXGradient",
    "attribute_pairs",
    "cannot_guide",
    "find_layer",
    "run_model",
]
