"""A network together with what it reads and where its maps can be taken."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from guidance.errors import InputError, unknown_name


class Classifier(nn.Module):
    """Any network from RGB images to K logits.

    Args:
        network: Maps the encoded images to logits.
        encoding: Maps RGB in [0, 1], [N, 3, H, W], to the network's input.
        num_classes: K. If ``head`` is given and has another number of outputs, it is replaced.
        layers: Names of layers (``mid1``, ``mid2``, ``mid3``, ``final``) to module paths within
            ``network``, in the syntax of :func:`guidance.attribution.find_layer`. ``input`` is always the
            encoded image.
        head: Module path of the last linear layer within ``network``.

    Raises:
        InputError: If the head is not a module of the network or not linear.
    """

    def __init__(
        self,
        network: nn.Module,
        encoding: nn.Module,
        num_classes: int,
        layers: Mapping[str, str],
        head: str | None = None,
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.network = network
        self.num_classes = num_classes
        self.layers = {"input": "encoding"} | {name: f"network.{path}" for name, path in layers.items()}
        if head is not None:
            replace_head(network, head, num_classes)
        # Convolutions, depthwise ones above all, are faster with the channels of a pixel side by side.
        network.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB images in [0, 1], float [N, 3, H, W], to logits [N, K]."""
        encoded = self.encoding(images.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.network(encoded)
        return logits


def replace_head(network: nn.Module, path: str, num_classes: int) -> None:
    """Give a network a new, randomly initialised last linear layer, unless it has K outputs already.

    Args:
        network: Changed in place.
        path: Dotted path of a ``torch.nn.Linear``.
        num_classes: K.

    Raises:
        InputError: If the path is no linear layer.
    """
    modules = dict(network.named_modules())
    linear = {name: module for name, module in modules.items() if isinstance(module, nn.Linear)}
    if path not in linear:
        raise unknown_name("model.head", path, linear)
    old = linear[path]
    if old.out_features == num_classes:
        return
    if num_classes < 1:
        raise InputError(f"a classifier needs at least one class; got {num_classes}")
    parent, _, name = path.rpartition(".")
    new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    setattr(modules[parent], name, new)
