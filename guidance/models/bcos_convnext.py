"""B-cos ConvNeXts: the architectures of the package ``bcos`` with layers that can be differentiated twice."""

from functools import partial

import bcos.models.convnext as architectures

from guidance.errors import unknown_name
from guidance.models.bcos_classifier import bcos_classifier, load_released, logit_bias
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.bcos_norm import BiasFreePositionNorm2d
from guidance.models.classifier import Classifier

# Stem, norm, then stages and the downsampling between them in turn.
_STAGES = {"mid1": "features.2", "mid2": "features.4", "mid3": "features.6", "final": "features.8"}
_SIZES = ("tiny", "base")
_NORMS = {"pn": partial(BiasFreePositionNorm2d, eps=1e-6), "bnu": UncenteredBatchNorm2d}


def bcos_convnext(size: str, num_classes: int, pretrained: bool = False, norm: str = "pn") -> Classifier:
    """Build a B-cos ConvNeXt of version 2 (arXiv 2306.10898) for images of about 224 pixels.

    Without GELU: the B-cos transform is the nonlinearity. Blocks have a layer scale, which starts at 1e-6,
    and are dropped at random in training, with probabilities up to 0.1 (tiny) or 0.5 (base). The input has
    6 channels, the classifier is a 1x1 B-cos convolution before global pooling, and the logit bias is
    ``-ln(K - 1)``.

    Args:
        size: ``tiny`` or ``base``.
        num_classes: K.
        pretrained: Start from the released ImageNet weights (downloaded once, verified by their hash; 600
            epochs). The classifier is taken over only if K is 1000.
        norm: ``pn``, a layer norm at every position, or ``bnu``, uncentred batch norm. Both are released.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3`` (after stages 1 to 3), ``final``.

    Raises:
        InputError: If there is no such size or norm, or the weights cannot be had.
    """
    if size not in _SIZES:
        raise unknown_name("model.size", size, _SIZES)
    if norm not in _NORMS:
        raise unknown_name("model.norm", norm, _NORMS)
    build = getattr(architectures, f"convnext_{size}")
    network = build(
        num_classes=num_classes,
        conv_layer=BcosConv2d,
        norm_layer=_NORMS[norm],
        logit_bias=logit_bias(num_classes),
    )
    if pretrained:
        load_released(network, "bcos_final_long", f"convnext_{size}_{norm}")
    return bcos_classifier(network, num_classes, _STAGES)
