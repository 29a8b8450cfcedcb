"""Networks to guide: B-cos and standard ones, with named layers."""

from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d, explanation_backward
from guidance.models.bcos_resnet import bcos_resnet, bcos_small
from guidance.models.classifier import Classifier
from guidance.models.encoding import AddInverse, Normalize
from guidance.models.torchvision_classifier import torchvision_classifier
from guidance.models.weights import load_start_weights

__all__ = [
    "AddInverse",
    "BcosConv2d",
    "Classifier",
    "Normalize",
    "UncenteredBatchNorm2d",
    "bcos_resnet",
    "bcos_small",
    "explanation_backward",
    "load_start_weights",
    "torchvision_classifier",
]
