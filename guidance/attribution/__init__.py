"""Attribution maps: which positions of a layer speak for a class. Most can guide, all can be scored."""

from guidance.attribution.ablation_cam import AblationCAM
from guidance.attribution.attributor import Attributor, GradientAttributor, cannot_guide
from guidance.attribution.bcos import BcosContributions
from guidance.attribution.compiled import CompiledExplanations
from guidance.attribution.forward_pass import ForwardPass, run_model
from guidance.attribution.grad_cam import GradCAM
from guidance.attribution.grad_cam_plus_plus import GradCAMPlusPlus
from guidance.attribution.gradient import Gradient
from guidance.attribution.guided_backprop import GuidedBackprop
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.integrated_gradients import IntegratedGradients
from guidance.attribution.layer_cam import LayerCAM
from guidance.attribution.layers import find_layer
from guidance.attribution.lrp import LRP
from guidance.attribution.occlusion import Occlusion
from guidance.attribution.pairs import attribute_pairs
from guidance.attribution.perturbed import PerturbationAttributor
from guidance.attribution.rise import RISE
from guidance.attribution.score_cam import ScoreCAM
from guidance.attribution.smoothed import Smoothed

__all__ = [
    "LRP",
    "RISE",
    "AblationCAM",
    "Attributor",
    "BcosContributions",
    "CompiledExplanations",
    "ForwardPass",
    "GradCAM",
    "GradCAMPlusPlus",
    "Gradient",
    "GradientAttributor",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "Occlusion",
    "PerturbationAttributor",
    "ScoreCAM",
    "Smoothed",
    "attribute_pairs",
    "cannot_guide",
    "find_layer",
    "run_model",
]
