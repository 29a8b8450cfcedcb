"""B-cos VGG: the architecture of the package ``bcos`` with layers that can be differentiated twice."""

import bcos.models.vgg as architectures

from guidance.models.bcos_classifier import bcos_classifier, load_released, logit_bias
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.classifier import Classifier

_POOLS = {"mid1": "features.5", "mid2": "features.10", "mid3": "features.15", "final": "features.20"}


def bcos_vgg11(num_classes: int, pretrained: bool = False) -> Classifier:
    """Build a B-cos VGG-11 with uncentred batch norm (arXiv 2306.10898) for images of 32 pixels or more.

    Its fully connected layers are B-cos convolutions (7x7, 1x1, 1x1) before global pooling, with over 90% of
    its 130 million weights; its input has 6 channels and its logit bias is ``-ln(K - 1)``.

    Args:
        num_classes: K.
        pretrained: Start from the released ImageNet weights (downloaded once, verified by their hash).
            The classifier is taken over only if K is 1000.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3``, ``final``: after the last four of its
        five poolings, where maps have 1/4, 1/8, 1/16 and 1/32 of the image's resolution, as in a ResNet.

    Raises:
        InputError: If the weights cannot be had.
    """
    network = architectures.vgg11_bnu(
        num_classes=num_classes,
        conv_layer=_conv_layer,
        norm_layer=UncenteredBatchNorm2d,
        logit_bias=logit_bias(num_classes),
    )
    if pretrained:
        load_released(network, "bcos_final", "vgg_11_bnu")
    return bcos_classifier(network, num_classes, _POOLS)


def _conv_layer(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    padding: int = 0,
    scale_fact: float = 1,
) -> BcosConv2d:
    """Leave out the output scale that the architecture passes: it is of version 1 of the B-cos networks."""
    return BcosConv2d(in_channels, out_channels, kernel_size, stride, padding)
