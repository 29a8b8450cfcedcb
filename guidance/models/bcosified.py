"""Standard networks turned into B-cos networks, with the weights they have."""

import torch
import torchvision.models
from bcos.modules.logitlayer import LogitLayer
from torch import Tensor, nn

from guidance.errors import InputError, unknown_name
from guidance.models.bcos_classifier import logit_bias
from guidance.models.bcosified_layers import (
    BcosifiedBatchNorm2d,
    BcosifiedConv2d,
    DynamicReLU6,
    set_bias_scale,
    set_exponent,
)
from guidance.models.classifier import Classifier
from guidance.models.efficientnet_lite import efficientnet_lite0
from guidance.models.encoding import AddInverse, Normalize
from guidance.models.torchvision_classifier import torchvision_classifier

_LITE = "efficientnet_lite0"
# Dynamic linear as they are. A dropout's mask is a dynamic factor like ReLU's.
_KEPT = (
    nn.AdaptiveAvgPool2d,
    nn.AvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
    nn.MaxPool2d,
    nn.ReLU,
    LogitLayer,
)


class BcosifiedClassifier(Classifier):
    """A classifier whose exponent B and biases may change in training, and are part of its state dict.

    Args:
        network: Of :func:`bcosify`.
        num_classes: K.
        layers: See :class:`guidance.models.Classifier`.
        b: The exponent B of all convolutions.
        bias_scale: What all biases are multiplied by, from 0 to 1. It is a B-cos network with 0 alone.

    Raises:
        InputError: If ``b`` < 1, or ``bias_scale`` is not within [0, 1].
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        layers: dict[str, str],
        b: float = 2.0,
        bias_scale: float = 0.0,
    ) -> None:
        super().__init__(network, AddInverse(), num_classes, layers)
        self.set_exponent(b)
        self.set_bias_scale(bias_scale)

    @property
    def exponent(self) -> float:
        """Return B."""
        return self._exponent

    def set_exponent(self, b: float) -> None:
        """Set B.

        Raises:
            InputError: If ``b`` < 1.
        """
        set_exponent(self.network, b)
        self._exponent = float(b)

    @property
    def bias_scale(self) -> float:
        """Return what the biases are multiplied by."""
        return self._bias_scale

    def set_bias_scale(self, scale: float) -> None:
        """Multiply the biases of the given network, unscaled, by a number from 0 to 1.

        Raises:
            InputError: If it is not.
        """
        set_bias_scale(self.network, scale)
        self._bias_scale = float(scale)

    def get_extra_state(self) -> Tensor:
        """Return B and the scale of the biases for the state dict, float64 [2]."""
        return torch.tensor([self._exponent, self._bias_scale], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take B and the scale of the biases from a state dict."""
        b, bias_scale = state.tolist()
        self.set_exponent(b)
        self.set_bias_scale(bias_scale)


def bcosified(
    base: str, num_classes: int, pretrained: bool = False, b: float = 2.0, bias_scale: float = 0.0
) -> BcosifiedClassifier:
    """Build a standard network and turn it into a B-cos network, which is then to be fine-tuned.

    Arya et al., "B-cosification: Transforming Deep Neural Networks to be Inherently Interpretable", NeurIPS
    2024 (arXiv 2411.00715); what is changed and what preserved, see :func:`bcosify`. The logit bias is
    ``-ln(K - 1)``, as in the B-cos networks trained from scratch.

    Biases and B both matter: taking away the one or raising the other leaves little of the features of a
    pretrained network. :class:`guidance.callbacks.AnnealBcosification` begins with exactly the base and does
    both gradually. What is lost still has to be learned again, on many images (the paper's took up to 90
    epochs on ImageNet); a few hundred images and a few epochs do not bring it back.

    Args:
        base: A ResNet of torchvision (``resnet18``, ``resnext50_32x4d``, ``wide_resnet50_2``, ...), or
            ``efficientnet_lite0``.
        num_classes: K. The classifier of the base is taken over only if K is 1000.
        pretrained: Start from torchvision's best ImageNet weights, or those in the package of
            EfficientNet-lite0.
        b: The exponent B.
        bias_scale: What all biases are multiplied by. With ``b`` = 1 and ``bias_scale`` = 1 the network is
            the base; with ``bias_scale`` = 0 it is a B-cos network. From one to the other,
            :class:`guidance.callbacks.AnnealBcosification` leads in training.

    Returns:
        The classifier; its layers are those of the base.

    Raises:
        InputError: If there is no such base, its weights or package cannot be had, ``b`` < 1,
            or ``bias_scale`` is not within [0, 1].
    """
    patterns = ["resnet*", "resnext*", "wide_resnet*"]
    resnets = torchvision.models.list_models(module=torchvision.models, include=patterns)
    if base not in (*resnets, _LITE):
        raise unknown_name("model.base", base, (*resnets, _LITE))
    if base == _LITE:
        classifier = efficientnet_lite0(num_classes, pretrained)
        network = bcosify(classifier, pool="_avg_pooling", head="_fc", dropout="_dropout")
    else:
        classifier = torchvision_classifier(base, num_classes, pretrained)
        network = bcosify(classifier, pool="avgpool", head="fc")
    paths = {name: path.removeprefix("network.") for name, path in classifier.layers.items()}
    del paths["input"]
    return BcosifiedClassifier(network, num_classes, paths, b, bias_scale)


def bcosify(classifier: Classifier, pool: str, head: str, dropout: str | None = None) -> nn.Module:
    """Turn the network of a classifier into a B-cos network that reads ``[x, 1 - x]``.

    - Convolutions become :class:`~guidance.models.bcosified_layers.BcosifiedConv2d`, with their weights.
    - The filters of the first are widened to 6 channels and take in the normalisation of the images:
      ``w (1 - mean) / std`` for x and ``-w mean / std`` for ``1 - x`` add up to ``w (x - mean) / std``, for
      1 is ``x + (1 - x)``. Zero padding is 0 on both sides, so this holds at the border too.
    - Batch norm becomes :class:`~guidance.models.bcosified_layers.BcosifiedBatchNorm2d`, which neither
      centres nor shifts, with its scale and variance. Its momentum is 0.1, so that a short training finds
      the statistics of a network that has changed.
    - The classifier becomes a 1x1 convolution before global pooling. Where it is linear this is the same.
    - Biases, the classifier's too, batch norm's shifts and its running means are multiplied by 0, or by
      what :func:`~guidance.models.bcosified_layers.set_bias_scale` says; they are constants, which
      training leaves as they are. The constant ``-ln(K - 1)`` takes the place of the classifier's bias.
    - ReLU, poolings and dropout stay: they multiply by 0 or a constant, given the input. ReLU6 becomes
      :class:`~guidance.models.bcosified_layers.DynamicReLU6`.

    Preserved: with B = 1 and all biases the logits are exactly those of the given network. With B = 1 and
    none, outside training, the logits minus the constant are exactly those of the given network with its
    biases, batch norm's shifts and its running means set to 0.

    Args:
        classifier: A network of these modules, whose encoding is :class:`guidance.models.Normalize`. It is
            used up: its network is changed in place.
        pool: Module path of the global average pooling within its network.
        head: Module path of the linear layer behind.
        dropout: Module path of a dropout between both.

    Returns:
        The network, with the exponent 2 and no biases;
        :func:`~guidance.models.bcosified_layers.set_exponent` and
        :func:`~guidance.models.bcosified_layers.set_bias_scale` change both.

    Raises:
        InputError: If a module has no counterpart (named in the message), e.g. SiLU or the sigmoid of
            squeeze-and-excitation.
    """
    network, encoding = classifier.network, classifier.encoding
    if not isinstance(encoding, Normalize):
        raise InputError(f"only a network of normalised images can be B-cosified, not one of {encoding}")
    linear = network.get_submodule(head)
    if not isinstance(linear, nn.Linear):
        raise InputError(f"only a linear classifier can be B-cosified; {head} is {linear}")
    _widen(network, encoding)

    constant = logit_bias(linear.out_features)
    pointwise = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1)
    pointwise.weight = nn.Parameter(linear.weight.detach()[:, :, None, None])
    # The constant that is added to the logits takes over from the bias as that is faded out.
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
    pointwise.bias = nn.Parameter(bias - constant)
    before_pooling: list[nn.Module] = [pointwise, network.get_submodule(pool)]
    if dropout is not None:
        # On a map, whole channels are dropped, as pooled features are.
        before_pooling.insert(0, nn.Dropout2d(getattr(network.get_submodule(dropout), "p", 0.0)))
        network.set_submodule(dropout, nn.Identity())
    network.set_submodule(pool, nn.Sequential(*before_pooling))
    network.set_submodule(head, LogitLayer(logit_bias=constant))
    _convert_children(network, "")
    return network


def _widen(network: nn.Module, encoding: Normalize) -> None:
    """Let the first convolution read ``[x, 1 - x]`` instead of the normalised image."""
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    weight = stem.weight.detach() / encoding.std
    stem.weight = nn.Parameter(torch.cat([weight * (1 - encoding.mean), -weight * encoding.mean], dim=1))
    stem.in_channels = 2 * stem.in_channels


def _convert_children(module: nn.Module, path: str) -> None:
    for name, child in module.named_children():
        of_child = f"{path}.{name}".removeprefix(".")
        new = _counterpart(child, of_child)
        if new is None:
            _convert_children(child, of_child)
        else:
            setattr(module, name, new)


def _counterpart(module: nn.Module, path: str) -> nn.Module | None:
    """Return what takes a module's place, or None if its children are to be looked at."""
    # By the very class: what a subclass computes is not known.
    if type(module) is nn.Conv2d:
        return BcosifiedConv2d(module)
    if type(module).__name__ == "Conv2dStaticSamePadding" and isinstance(module, nn.Conv2d):
        padding = module.get_submodule("static_padding")
        bcos = BcosifiedConv2d(module)
        return nn.Sequential(padding, bcos) if isinstance(padding, nn.ZeroPad2d) else bcos
    if type(module) is nn.BatchNorm2d:
        return BcosifiedBatchNorm2d(module)
    if type(module) is nn.ReLU6:
        return DynamicReLU6()
    if type(module) in _KEPT:
        return module
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d) or next(module.children(), None) is None:
        known = ", ".join(sorted(kept.__name__ for kept in (*_KEPT, nn.Conv2d, nn.BatchNorm2d, nn.ReLU6)))
        raise InputError(
            f"the network cannot be B-cosified: its module {path} is {type(module).__name__}, which has no "
            f"dynamic linear counterpart here; supported are {known}"
        )
    return None
