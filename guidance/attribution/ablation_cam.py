"""Ablation-CAM."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.attribution.attributor import at_least_float32
from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.perturbed import PerturbationAttributor


class AblationCAM(PerturbationAttributor):
    """``ReLU(sum_c w_c * a_c)``, where w_c is the share of the logit that is lost without channel c.

    Desai & Ramaswamy, "Ablation-CAM", WACV 2020: ``w_c = (y - y_c) / y`` with the class logit y, and y_c
    that with channel c set to zero. The paper explains predicted classes, whose logit is positive. Here it
    is divided by ``|y|``, so that a channel that speaks for a class keeps its positive weight when the logit
    is negative, as it is for most classes of a multi-label network. A logit of 0 (below the machine
    precision) divides nothing: the weights are then the losses themselves.

    Costs C + 1 forward passes per map of a layer with C channels.

    Args:
        layer: Where the map is taken.
        relu: Whether to leave out negative evidence, as the paper does.
        chunk: The most images in one forward pass.
    """

    def __init__(self, layer: str | Sequence[str] = "final", relu: bool = True, chunk: int = 64) -> None:
        super().__init__(layer, chunk)
        self.relu = relu

    def explain_layer(self, forward: ForwardPass, layer: str, classes: Tensor) -> Tensor:
        """Return [N, h, w]."""
        activation = at_least_float32(forward.activations[layer].detach())
        channels = torch.arange(activation.shape[1], device=activation.device)

        def ablate(a: Tensor, _: Tensor, channel: Tensor) -> Tensor:
            return a.masked_fill((channels == channel[:, None])[:, :, None, None], 0)

        logit = self.unchanged_logits(forward, classes)
        losses = logit - self.changed_logits(forward, layer, classes, len(channels), ablate)
        size = logit.abs()
        weights = losses / torch.where(size > torch.finfo(size.dtype).eps, size, 1)
        maps = torch.einsum("nc,nchw->nhw", weights, activation)
        return maps.relu() if self.relu else maps
