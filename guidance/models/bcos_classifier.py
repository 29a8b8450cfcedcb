"""What all B-cos classifiers share: encoding, logit bias, and released weights."""

from collections.abc import Mapping
from math import log

from bcos.models.pretrained import URLS
from bcos.modules import LogitLayer
from torch import nn

from guidance.errors import InputError, unknown_name
from guidance.models.bcos_layers import LinearAvgPool2d
from guidance.models.classifier import Classifier
from guidance.models.encoding import AddInverse
from guidance.models.released_weights import download_weights
from guidance.models.weights import copy_weights

_COLLECTIONS = {"v2": "bcos_final", "long": "bcos_final_long"}


def bcos_classifier(network: nn.Module, num_classes: int, layers: Mapping[str, str]) -> Classifier:
    """Wrap a B-cos network, which reads 6 channels ``[x, 1 - x]``.

    Args:
        network: Maps [N, 6, H, W] to logits [N, K]; linear but for its dynamic factors. Changed in place: its
            average pooling becomes one whose explanations are fast to differentiate.
        num_classes: K.
        layers: See :class:`guidance.models.Classifier`.
    """
    for name, module in list(network.named_modules()):
        if type(module) is nn.AvgPool2d:
            network.set_submodule(name, _linear(module))
    return Classifier(network, AddInverse(), num_classes, layers, dynamic_linear=True)


def _linear(pool: nn.AvgPool2d) -> LinearAvgPool2d:
    return LinearAvgPool2d(
        pool.kernel_size,
        pool.stride,
        pool.padding,
        pool.ceil_mode,
        pool.count_include_pad,
        pool.divisor_override,
    )


def logit_bias(num_classes: int) -> float:
    """Return ``-ln(K - 1)``, the logit of the probability 1/K.

    Raises:
        InputError: If K < 2: a single class has no such bias.
    """
    if num_classes < 2:
        raise InputError(
            f"the logit bias -ln(K - 1) needs at least 2 classes; the data set has {num_classes}"
        )
    return -log(num_classes - 1)


def added_bias(model: nn.Module) -> float:
    """Return what a dynamic linear model adds to each logit besides what its inputs contribute.

    Args:
        model: With one ``bcos.modules.LogitLayer``, or none, which adds 0.
    """
    return sum(float(m.logit_bias or 0) for m in model.modules() if isinstance(m, LogitLayer))


def find_collection(name: str, weights: str) -> str:
    """Find where the released weights of a network are listed.

    Args:
        name: The network, as the package ``bcos`` names it, e.g. ``resnet_50``.
        weights: ``v2`` (90 epochs) or ``long`` (600 epochs and stronger augmentation).

    Returns:
        A key of ``bcos.models.pretrained.URLS``.

    Raises:
        InputError: If no such weights of this network are released.
    """
    known = {option: collection for option, collection in _COLLECTIONS.items() if name in URLS[collection]}
    if weights not in known:
        raise unknown_name(f"model.weights of {name}", weights, known)
    return known[weights]


def load_released(network: nn.Module, collection: str, name: str) -> None:
    """Start a network from the weights released for ImageNet, downloaded once and verified by their hash.

    Args:
        network: Changed in place. A classifier for other than 1000 classes starts at random, with a warning.
        collection: A key of ``bcos.models.pretrained.URLS``.
        name: A key of that collection.

    Raises:
        InputError: If the weights cannot be fetched, are damaged, or belong to another network.
    """
    copy_weights(network, download_weights(URLS[collection][name]), f"the released weights of {name}")
