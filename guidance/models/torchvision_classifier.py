"""Classifiers of torchvision, by name."""

from typing import Any

import torchvision.models
from torch import nn

from guidance.errors import InputError, unknown_name
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize
from guidance.models.fixed_size import FixedSizeNormalize
from guidance.models.released_weights import download_weights
from guidance.models.torchvision_layers import torchvision_layers

# Networks for one image size only, and what torchvision calls it.
_SIZE_ARGUMENTS = {"vit": "image_size", "maxvit": "input_size"}


def torchvision_classifier(
    name: str, num_classes: int, pretrained: bool = False, image_size: int | None = None
) -> Classifier:
    """Build a torchvision classifier with ImageNet normalisation and a head for K classes.

    Auxiliary classifiers (GoogLeNet, Inception) and the ReLU behind SqueezeNet's logits are left out: the
    former have no part in an explanation, the latter would forbid negative logits.

    Args:
        name: As in ``torchvision.models.list_models(module=torchvision.models)``, e.g. ``resnet50``.
        num_classes: K.
        pretrained: Start from torchvision's best ImageNet weights, downloaded once and verified. The head
            is taken over only if K is 1000.
        image_size: Height and width of the images in pixels. Only ViTs and MaxViT are built for a size; None
            is that of their weights, mostly 224. Other networks read any.

    Returns:
        The classifier. Layers ``mid1`` ... ``final`` are those of
        :func:`guidance.models.torchvision_layers.torchvision_layers`; others are named by their module path.

    Raises:
        InputError: If there is no such model, it cannot be built for the size, or the weights cannot be had.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    network, encoding = _fixed_size(name, pretrained, image_size) or (_build(name, pretrained), Normalize())
    _leave_out_extras(network)
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    return Classifier(
        network,
        encoding,
        num_classes,
        torchvision_layers(name, network),
        head=linear[-1] if linear else "classifier.1",  # SqueezeNet's head is a convolution
        prefix_tokens=int(name.startswith("vit")),
        channels_side="last" if name.startswith("swin") else "first",
    )


def _fixed_size(name: str, pretrained: bool, image_size: int | None) -> tuple[nn.Module, Normalize] | None:
    """Build a network that reads images of one size only; return None for any other."""
    argument = next((value for prefix, value in _SIZE_ARGUMENTS.items() if name.startswith(prefix)), None)
    if argument is None:
        return None
    native = torchvision.models.get_model_weights(name).DEFAULT.meta["min_size"][0] if pretrained else 224
    size = native if image_size is None else image_size
    if pretrained and size != native:
        raise InputError(
            f"model.image_size is {size}, but the pretrained weights of {name} are for images of {native} "
            f"pixels: set data.image_size={native}, or model.pretrained=false"
        )
    network = _build(name, pretrained, **{argument: (size, size) if argument == "input_size" else size})
    return network, FixedSizeNormalize((size, size))


def _build(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """Build a network; ``options`` are those that tell it the images' size."""
    if name in ("googlenet", "inception_v3") and not pretrained:
        options["init_weights"] = True  # the default, but torchvision wants to be told
    weights = torchvision.models.get_model_weights(name).DEFAULT if pretrained else None
    if weights is not None:
        # torchvision finds the file in the cache. It would load anything: that it has weights only is
        # checked here.
        download_weights(weights.url)
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=weights, **options)
    except (ValueError, AssertionError) as error:
        raise InputError(f"model.image_size: {name} cannot be built with {options}: {error}") from error
    return network


def _leave_out_extras(network: nn.Module) -> None:
    """Leave out auxiliary classifiers, and a ReLU behind the logits."""
    if isinstance(network, torchvision.models.GoogLeNet | torchvision.models.Inception3):
        network.aux_logits = False
        for name in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, name):
                setattr(network, name, None)
    if isinstance(network, torchvision.models.SqueezeNet):
        network.classifier[2] = nn.Identity()
