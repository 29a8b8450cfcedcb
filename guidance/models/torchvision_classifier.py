"""Classifiers of torchvision, by name."""

from urllib.error import URLError

import torchvision.models
from torch import nn

from guidance.errors import InputError, unknown_name
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize

_STAGES = {"mid1": "layer1", "mid2": "layer2", "mid3": "layer3", "final": "layer4"}


def torchvision_classifier(name: str, num_classes: int, pretrained: bool = False) -> Classifier:
    """Build a torchvision classifier with ImageNet normalisation and a head for K classes.

    Args:
        name: As in ``torchvision.models.list_models(module=torchvision.models)``, e.g. ``resnet50``.
        num_classes: K.
        pretrained: Start from torchvision's best ImageNet weights, downloaded once and verified. The head
            is taken over only if K is 1000.

    Returns:
        The classifier. Layers ``mid1`` ... ``final`` exist for networks with four stages (ResNets and
        their kin); other layers are named by their module path.

    Raises:
        InputError: If there is no such model, or the weights cannot be had.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    try:
        network = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"could not fetch torchvision's weights of {name}: {error}. Fetch the file elsewhere and give it "
            "as model.checkpoint, or set model.pretrained=false"
        ) from error
    heads = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise InputError(f"torchvision model '{name}' ends in no linear layer")
    modules = dict(network.named_modules())
    layers = {layer: path for layer, path in _STAGES.items() if path in modules}
    return Classifier(network, Normalize(), num_classes, layers, head=heads[-1])
