"""B-cos ResNets: the architectures of the package ``bcos`` with layers that can be differentiated twice."""

import bcos.models.resnet as architectures
from torch import nn

from guidance.errors import unknown_name
from guidance.models.bcos_classifier import bcos_classifier, find_collection, load_released, logit_bias
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.classifier import Classifier

_STAGES = {"mid1": "layer1", "mid2": "layer2", "mid3": "layer3", "final": "layer4"}
DEPTHS = (18, 34, 50, 101, 152)
"""The layers of each ResNet there is."""


def bcos_resnet(depth: int, num_classes: int, pretrained: bool = False, weights: str = "v2") -> Classifier:
    """Build a B-cos ResNet of version 2 (arXiv 2306.10898) for images of about 224 pixels.

    Its input has 6 channels, its classifier is a 1x1 B-cos convolution before global pooling, and its logit
    bias is ``-ln(K - 1)``, so that an untrained network gives every class the probability 1/K.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: K.
        pretrained: Start from the released ImageNet weights (downloaded once, verified by their hash).
            The classifier is taken over only if K is 1000.
        weights: Which release: ``v2``, or for the depths 50 and 152 ``long`` (600 epochs), a network that
            drops blocks at random in training, with probabilities up to 0.1.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3`` (after stages 1 to 3), ``final``.

    Raises:
        InputError: If there is no such depth or release, or the weights cannot be had.
    """
    if depth not in DEPTHS:
        raise unknown_name("model.depth", str(depth), map(str, DEPTHS))
    name = f"resnet_{depth}"
    collection = find_collection(name, weights)
    build = getattr(architectures, f"resnet{depth}")
    network = build(
        num_classes=num_classes,
        conv_layer=BcosConv2d,
        norm_layer=UncenteredBatchNorm2d,
        logit_bias=logit_bias(num_classes),
        stochastic_depth_prob=0.1 if weights == "long" else 0.0,
    )
    if pretrained:
        load_released(network, collection, name)
    return _classifier(network, num_classes)


def bcos_resnext50(num_classes: int, pretrained: bool = False) -> Classifier:
    """Build a B-cos ResNeXt-50 32x4d: a ResNet-50 whose 3x3 convolutions have 32 groups.

    Each group's patch has its own norm.

    Args:
        num_classes: K.
        pretrained: Start from the released ImageNet weights, as in :func:`bcos_resnet`.

    Returns:
        The classifier, with the layers of :func:`bcos_resnet`.

    Raises:
        InputError: If the weights cannot be had.
    """
    network = architectures.resnext50_32x4d(
        num_classes=num_classes,
        conv_layer=BcosConv2d,
        norm_layer=UncenteredBatchNorm2d,
        logit_bias=logit_bias(num_classes),
    )
    if pretrained:
        load_released(network, "bcos_final", "resnext_50_32x4d")
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


def _classifier(network: nn.Module, num_classes: int) -> Classifier:
    return bcos_classifier(network, num_classes, _STAGES)
