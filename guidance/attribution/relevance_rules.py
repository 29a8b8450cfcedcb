"""The rules of layer-wise relevance propagation, as hooks of one forward pass."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from guidance.attribution.explained_as import explained_as
from guidance.models.dynamic_factors import dynamic_scale


class RelevanceRules:
    """Makes the layers of one forward pass hand on relevance by a rule when the pass is explained.

    A convolution and the batch norm that reads its output count as one affine layer (Montavon et al.,
    "Layer-Wise Relevance Propagation: An Overview", 2019). The statistics of a batch are constants of the
    explanation, so that it is one of the affine layer in training too.

    Args:
        epsilon: The stabiliser of every rule.
        gamma: How much convolutions favour contributions of the output's sign; 0 is the epsilon rule, by
            which linear layers and lone batch norms go anyway.
        convolution_of: Of each batch norm that reads a convolution's output, the convolution.
    """

    def __init__(self, epsilon: float, gamma: float, convolution_of: Mapping[nn.Module, nn.Module]) -> None:
        self._epsilon = epsilon
        self._gamma = gamma
        self._convolution_of = convolution_of
        self._merged = set(convolution_of.values())
        # By the identity of what a merged convolution returned: that very tensor, and what it was made from.
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Return, as a forward hook, what replaces a layer's output; None leaves it."""
        (x,) = inputs
        if not output.requires_grad:
            return None
        if module in self._merged:
            self._made[id(output)] = (output, x)
            return None
        if isinstance(module, nn.BatchNorm2d):
            return self._after_batch_norm(module, x, output)
        if isinstance(module, nn.Conv2d) and self._gamma:
            return self._by_gamma(output, output, module, x, module.weight, module.bias)
        return self._by_epsilon(output, output)

    def _after_batch_norm(self, module: nn.BatchNorm2d, x: Tensor, output: Tensor) -> Tensor:
        scale, shift = affine_map(module, x)
        affine = output
        if uses_batch_statistics(module):
            affine = dynamic_scale(x, scale[:, None, None]) + shift[:, None, None]
        made = self._made.pop(id(x), None)
        convolution = self._convolution_of.get(module)
        if not self._gamma or made is None or not isinstance(convolution, nn.Conv2d):
            return self._by_epsilon(output, affine)
        weight = dynamic_scale(convolution.weight, scale[:, None, None, None])
        bias = shift if convolution.bias is None else shift + dynamic_scale(convolution.bias, scale)
        return self._by_gamma(output, affine, convolution, made[1], weight, bias)

    def _by_epsilon(self, output: Tensor, affine: Tensor) -> Tensor:
        # With epsilon, the share of the relevance that is handed on dips to 0 wherever an output crosses 0.
        # The slopes of these dips, up to 1 / epsilon, are noise to a loss of the maps: the share is constant.
        return explained_as(output, affine, self._epsilon, constant=True)

    def _by_gamma(
        self, output: Tensor, affine: Tensor, layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        positive = positive_contributions(layer, x, weight, bias)
        favoured = torch.where(output > 0, positive, affine - positive)
        return explained_as(output, affine + self._gamma * favoured, self._epsilon)


def positive_contributions(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return, for every output of an affine convolution, the sum of its positive summands (with the bias)."""
    above = x.relu()
    of_above: Tensor = layer._conv_forward(above, weight.relu(), None if bias is None else bias.relu())
    of_below: Tensor = layer._conv_forward(above - x, (-weight).relu(), None)
    return of_above + of_below


def uses_batch_statistics(module: nn.BatchNorm2d) -> bool:
    """Return whether a batch norm goes by the statistics of its batch."""
    return module.training or module.running_var is None


def affine_map(module: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale [C] and shift [C] of a batch norm as an affine map, constants of an explanation."""
    variance, mean = module.running_var, module.running_mean
    if variance is None or mean is None or uses_batch_statistics(module):
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
    scale = (variance + module.eps).rsqrt()
    if module.affine:
        scale = scale * module.weight
    shift = -mean * scale
    if module.affine:
        shift = shift + module.bias
    return scale, dynamic_scale(torch.ones_like(shift), shift)
