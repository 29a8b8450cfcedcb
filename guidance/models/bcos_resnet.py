"""B-cos ResNets: the architectures of the package ``bcos`` with layers that can be differentiated twice."""

from math import log

import bcos.models.resnet as architectures
from bcos.models.pretrained import URLS
from torch import nn

from guidance.errors import InputError, unknown_name
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.classifier import Classifier
from guidance.models.encoding import AddInverse
from guidance.models.weights import copy_weights, download_weights

_STAGES = {"mid1": "layer1", "mid2": "layer2", "mid3": "layer3", "final": "layer4"}
_DEPTHS = (18, 34, 50, 101, 152)


def bcos_resnet(depth: int, num_classes: int, pretrained: bool = False) -> Classifier:
    """Build a B-cos ResNet of version 2 (arXiv 2306.10898) for images of about 224 pixels.

    Its input has 6 channels, its classifier is a 1x1 B-cos convolution before global pooling, and its logit
    bias is ``-ln(K - 1)``, so that an untrained network gives every class the probability 1/K.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: K.
        pretrained: Start from the released ImageNet weights (downloaded once, verified by their hash).
            The classifier is taken over only if K is 1000.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3`` (after stages 1 to 3), ``final``.

    Raises:
        InputError: If there is no such depth, or the weights cannot be had.
    """
    if depth not in _DEPTHS:
        raise unknown_name("model.depth", str(depth), map(str, _DEPTHS))
    build = getattr(architectures, f"resnet{depth}")
    network = build(
        num_classes=num_classes,
        conv_layer=BcosConv2d,
        norm_layer=UncenteredBatchNorm2d,
        logit_bias=logit_bias(num_classes),
    )
    if pretrained:
        weights = download_weights(URLS["bcos_final"][f"resnet_{depth}"])
        copy_weights(network, weights, f"the released weights of resnet_{depth}")
    return _classifier(network, num_classes)


def bcos_small(num_classes: int, width: int = 32) -> Classifier:
    """Build a small B-cos ResNet (four stages of one block) for images of about 64 pixels.

    Args:
        num_classes: K.
        width: Channels of the first stage; each further stage has twice as many.

    Returns:
        The classifier, with the layers of :func:`bcos_resnet`.
    """
    network = architectures.BcosResNet(
        architectures.BasicBlock,
        [1, 1, 1, 1],
        num_classes=num_classes,
        inplanes=width,
        conv_layer=BcosConv2d,
        norm_layer=UncenteredBatchNorm2d,
        logit_bias=logit_bias(num_classes),
    )
    return _classifier(network, num_classes)


def logit_bias(num_classes: int) -> float:
    """Return ``-ln(K - 1)``, the logit of the probability 1/K.

    Raises:
        InputError: If K < 2: a single class has no such bias.
    """
    if num_classes < 2:
        raise InputError(f"a B-cos classifier needs at least 2 classes; the data set has {num_classes}")
    return -log(num_classes - 1)


def _classifier(network: nn.Module, num_classes: int) -> Classifier:
    return Classifier(network, AddInverse(), num_classes, layers=_STAGES)
