"""A network together with what it reads and where its maps can be taken."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from guidance.errors import InputError, unknown_name
from guidance.models.hard_sigmoid import replace_hard_sigmoids

ChannelsSide = Literal["first", "last"]


class Classifier(nn.Module):
    """Any network from RGB images to K logits.

    Args:
        network: Maps the encoded images to logits.
        encoding: Maps RGB in [0, 1], [N, 3, H, W], to the network's input.
        num_classes: K. If ``head`` is given and has another number of outputs, it is replaced.
        layers: Names of layers (``mid1``, ``mid2``, ``mid3``, ``final``) to module paths within
            ``network``, in the syntax of :func:`guidance.attribution.find_layer`. ``input`` is always the
            encoded image.
        head: Module path of the last linear layer, or 1x1 convolution, within ``network``.
        prefix_tokens: Of a network of tokens, how many in front are not of the image (a class token,
            registers); maps leave them out.
        channels_side: ``first`` if what the network's blocks hold is [N, C, h, w], ``last`` if [N, h, w, C].
        dynamic_linear: Whether the network is linear but for what it computes as
            :func:`guidance.models.factor_tape.recorded`, dropout and stochastic depth.

    Raises:
        InputError: If the head is not a module of the network or not linear, or there is no such side.
    """

    def __init__(
        self,
        network: nn.Module,
        encoding: nn.Module,
        num_classes: int,
        layers: Mapping[str, str],
        head: str | None = None,
        prefix_tokens: int = 0,
        channels_side: ChannelsSide = "first",
        dynamic_linear: bool = False,
    ) -> None:
        super().__init__()
        if channels_side not in get_args(ChannelsSide):
            raise unknown_name("model.channels_side", channels_side, get_args(ChannelsSide))
        self.encoding = encoding
        self.network = network
        self.num_classes = num_classes
        self.prefix_tokens = prefix_tokens
        self.channels_side = channels_side
        self.dynamic_linear = dynamic_linear
        self.layers = {"input": "encoding"} | {name: f"network.{path}" for name, path in layers.items()}
        if head is not None:
            replace_head(network, head, num_classes)
        replace_hard_sigmoids(network)
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
        path: Dotted path of a ``torch.nn.Linear``, or of a ``torch.nn.Conv2d`` with a 1x1 kernel.
        num_classes: K.

    Raises:
        InputError: If the path is no linear layer.
    """
    modules = dict(network.named_modules())
    old = modules.get(path)
    if not (isinstance(old, nn.Linear) or (isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1))):
        raise unknown_name("model.head", path, (n for n, m in modules.items() if isinstance(m, nn.Linear)))
    if old.weight.shape[0] == num_classes:
        return
    if num_classes < 1:
        raise InputError(f"a classifier needs at least one class; got {num_classes}")
    parent, _, name = path.rpartition(".")
    bias = old.bias is not None
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1, bias=bias)
    setattr(modules[parent], name, new)
