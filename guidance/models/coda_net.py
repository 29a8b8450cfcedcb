"""CoDA networks: dynamic alignment units from the image to the classes."""

from collections.abc import Sequence
from typing import NamedTuple

from bcos.modules import LogitLayer
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models.bcos_classifier import logit_bias
from guidance.models.classifier import Classifier
from guidance.models.coda_layers import DynamicAlignmentConv2d, Nonlinearity
from guidance.models.encoding import AddInverse


class Layer(NamedTuple):
    """One convolution of dynamic alignment units, padded by half its kernel."""

    units: int
    rank: int
    kernel_size: int = 3
    stride: int = 1


class CodaNet(nn.Module):
    """Convolutions of dynamic alignment units, one after the other, and nothing in between.

    Böhle, Fritz and Schiele, "Convolutional Dynamic Alignment Networks", CVPR 2021 (arXiv 2104.00032). The
    last convolution has one unit per class; a logit is the sum of its outputs over all positions, divided by
    the temperature T, plus a bias that is no parameter: ``-ln(K - 1)``, so that an untrained network gives
    every class the probability 1/K. As no unit can return more than its patch's norm, a logit grows only
    by alignment, and the higher T is, the more of it the classification loss asks for.

    Args:
        layers: The convolutions before the last.
        head: The last one; its number of units is K.
        nonlinearity: See :class:`guidance.models.DynamicAlignmentConv2d`.
        temperature: T; positive. It goes with a sum over positions: images of twice the side need four
            times as high a T for the same logits.

    Raises:
        InputError: If K < 2, T is not positive or there is no such nonlinearity.
    """

    def __init__(
        self, layers: Sequence[Layer], head: Layer, nonlinearity: Nonlinearity, temperature: float
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"the temperature (model.temperature) must be positive; got {temperature}")
        channels = [6, *(layer.units for layer in layers)]
        self.layers = nn.Sequential(
            *(
                DynamicAlignmentConv2d(
                    inputs, units, kernel_size, stride, kernel_size // 2, rank, nonlinearity
                )
                for inputs, (units, rank, kernel_size, stride) in zip(channels, [*layers, head], strict=True)
            )
        )
        self.logit_layer = LogitLayer(logit_temperature=temperature, logit_bias=logit_bias(head.units))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 6, H, W] to logits [N, K]."""
        logits: Tensor = self.logit_layer(self.layers(x).sum((2, 3)))
        return logits


def coda_small(
    num_classes: int,
    width: int = 16,
    rank: int = 8,
    nonlinearity: Nonlinearity = "squash",
    temperature: float = 100,
) -> Classifier:
    """Build a small CoDA network for images of about 64 pixels.

    Args:
        num_classes: K.
        width: Units of the first two convolutions; of the next two twice, then four times as many.
        rank: R of the first two convolutions; of the others twice as many.
        nonlinearity: ``squash`` or ``l2``.
        temperature: T.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3``, ``final``: of 1/2, 1/4, 1/8 and 1/8 of
        the image's resolution.

    Raises:
        InputError: If K < 2, T is not positive or there is no such nonlinearity.
    """
    layers = [
        Layer(width, rank, kernel_size=5, stride=2),
        Layer(width, rank),
        Layer(2 * width, 2 * rank, stride=2),
        Layer(2 * width, 2 * rank),
        Layer(4 * width, 2 * rank, stride=2),
        Layer(4 * width, 2 * rank),
    ]
    network = CodaNet(layers, Layer(num_classes, 2 * rank, kernel_size=1), nonlinearity, temperature)
    return _classifier(network, num_classes, {"mid1": 1, "mid2": 3, "mid3": 4, "final": 5})


def coda_net(num_classes: int, nonlinearity: Nonlinearity = "squash", temperature: float = 1e5) -> Classifier:
    """Build the CoDA network of nine layers for images of about 224 pixels (L-CoDA in arXiv 2104.00032).

    Args:
        num_classes: K.
        nonlinearity: ``squash``, as in the paper, or ``l2``.
        temperature: T; the paper's by default.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3``, ``final``: of 1/3, 1/6, 1/12 and 1/12
        of the image's resolution.

    Raises:
        InputError: If K < 2, T is not positive or there is no such nonlinearity.
    """
    layers = [
        Layer(16, 64, kernel_size=7, stride=3),
        Layer(32, 64),
        Layer(32, 64),
        Layer(64, 128, stride=2),
        Layer(64, 128),
        Layer(64, 128),
        Layer(64, 256, stride=2),
        Layer(64, 256),
    ]
    network = CodaNet(layers, Layer(num_classes, 256), nonlinearity, temperature)
    return _classifier(network, num_classes, {"mid1": 2, "mid2": 5, "mid3": 6, "final": 7})


def _classifier(network: CodaNet, num_classes: int, ends: dict[str, int]) -> Classifier:
    layers = {name: f"layers.{index}" for name, index in ends.items()}
    return Classifier(network, AddInverse(), num_classes, layers)
