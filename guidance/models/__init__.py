"""Networks to guide: B-cos, CoDA and standard ones, with named layers."""

from guidance.models.bcos_attention import BcosAttention
from guidance.models.bcos_classifier import added_bias
from guidance.models.bcos_convnext import bcos_convnext
from guidance.models.bcos_densenet import bcos_densenet
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.bcos_linear import BcosLinear
from guidance.models.bcos_norm import BiasFreeImageNorm2d, BiasFreeLayerNorm, BiasFreePositionNorm2d
from guidance.models.bcos_resnet import bcos_resnet, bcos_resnext50, bcos_small
from guidance.models.bcos_vgg import bcos_vgg11
from guidance.models.bcos_vit import bcos_vit, has_positional_share, positional_share
from guidance.models.bcosified import bcosified, bcosify
from guidance.models.classifier import Classifier
from guidance.models.coda_layers import DynamicAlignmentConv2d
from guidance.models.coda_net import CodaNet, coda_net, coda_small
from guidance.models.dynamic_factors import DynamicLinear, explanation_backward
from guidance.models.efficientnet_lite import efficientnet_lite0
from guidance.models.encoding import AddInverse, Normalize
from guidance.models.kernels import cpu_kernels
from guidance.models.timm_classifier import timm_classifier
from guidance.models.torchvision_classifier import torchvision_classifier
from guidance.models.weights import load_start_weights
from guidance.models.xdnn_resnet import xdnn_resnet

__all__ = [
    "AddInverse",
    "BcosAttention",
    "BcosConv2d",
    "BcosLinear",
    "BiasFreeImageNorm2d",
    "BiasFreeLayerNorm",
    "BiasFreePositionNorm2d",
    "Classifier",
    "CodaNet",
    "DynamicAlignmentConv2d",
    "DynamicLinear",
    "Normalize",
    "UncenteredBatchNorm2d",
    "added_bias",
    "bcos_convnext",
    "bcos_densenet",
    "bcos_resnet",
    "bcos_resnext50",
    "bcos_small",
    "bcos_vgg11",
    "bcos_vit",
    "bcosified",
    "bcosify",
    "coda_net",
    "coda_small",
    "cpu_kernels",
    "efficientnet_lite0",
    "explanation_backward",
    "has_positional_share",
    "load_start_weights",
    "positional_share",
    "timm_classifier",
    "torchvision_classifier",
    "xdnn_resnet",
]
