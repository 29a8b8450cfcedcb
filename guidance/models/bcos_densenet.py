"""B-cos DenseNets: the architectures of the package ``bcos`` with layers that can be differentiated twice."""

import bcos.models.densenet as architectures

from guidance.errors import unknown_name
from guidance.models.bcos_classifier import bcos_classifier, find_collection, load_released, logit_bias
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.classifier import Classifier

_STAGES = {
    "mid1": "features.denseblock1",
    "mid2": "features.denseblock2",
    "mid3": "features.denseblock3",
    "final": "features.denseblock4",
}
_DEPTHS = (121, 161, 169, 201)


def bcos_densenet(depth: int, num_classes: int, pretrained: bool = False, weights: str = "v2") -> Classifier:
    """Build a B-cos DenseNet of version 2 (arXiv 2306.10898) for images of about 224 pixels.

    Its input has 6 channels, its classifier is a 1x1 B-cos convolution before global pooling, and its logit
    bias is ``-ln(K - 1)``.

    Args:
        depth: 121, 161, 169 or 201.
        num_classes: K.
        pretrained: Start from the released ImageNet weights (downloaded once, verified by their hash).
            The classifier is taken over only if K is 1000.
        weights: Which release: ``v2``, or for the depth 121 ``long`` (600 epochs).

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3``, ``final`` (after dense blocks 1 to 4).

    Raises:
        InputError: If there is no such depth or release, or the weights cannot be had.
    """
    if depth not in _DEPTHS:
        raise unknown_name("model.depth", str(depth), map(str, _DEPTHS))
    name = f"densenet_{depth}"
    collection = find_collection(name, weights)
    build = getattr(architectures, f"densenet{depth}")
    network = build(
        num_classes=num_classes,
        conv_layer=BcosConv2d,
        norm_layer=UncenteredBatchNorm2d,
        logit_bias=logit_bias(num_classes),
    )
    if pretrained:
        load_released(network, collection, name)
    return bcos_classifier(network, num_classes, _STAGES)
