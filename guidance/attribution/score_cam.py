"""Score-CAM."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.attribution.attributor import at_least_float32
from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.perturbed import PerturbationAttributor


class ScoreCAM(PerturbationAttributor):
    """``ReLU(sum_c w_c * a_c)``, where w_c grows with the class logit of what channel c shows.

    Wang et al., "Score-CAM" (arXiv 1910.01279), algorithm 1: each channel, upsampled bilinearly to the input
    and brought to [0, 1] by its minimum and maximum, multiplies the input; the weights are the softmax over
    channels of the class logit of the masked input. The score of the paper's baseline input is the same for
    all channels, so the softmax does not see it and it is not computed. (The paper's released code differs:
    its weights are the class probabilities, a softmax over classes, which multi-label logits do not have.)

    What is masked is the layer ``input``, what the network reads after the encoding. So a masked position is
    no evidence at all: the mean colour of a network that normalises, no colour of a B-cos network, whose
    channels [x, 1 - x] are both 0, where a black pixel would be evidence of black.

    A constant channel masks nothing: its weight is 0 and it takes no part in the softmax. If all channels
    are constant, the map is 0. No weight is negative, so the map is also 0 where all activations are, as
    those of a B-cos network can be. Costs C forward passes per map of a layer with C channels.

    Args:
        layer: Where the map is taken.
        chunk: The most images in one forward pass.
    """

    def __init__(self, layer: str | Sequence[str] = "final", chunk: int = 64) -> None:
        super().__init__(layer, chunk)

    def explain_layer(self, forward: ForwardPass, layer: str, classes: Tensor) -> Tensor:
        """Return [N, h, w]."""
        activation = at_least_float32(forward.activations[layer].detach())

        def show(network_input: Tensor, image: Tensor, channel: Tensor) -> Tensor:
            size = network_input.shape[-2:]
            channels = F.interpolate(activation[image, channel][:, None], size, mode="bilinear")
            return network_input * _min_max(channels).to(network_input.dtype)

        scores = self.changed_logits(forward, "input", classes, activation.shape[1], show)
        constant = activation.amin(dim=(2, 3)) == activation.amax(dim=(2, 3))
        weights = scores.masked_fill(constant, -torch.inf).softmax(dim=1).masked_fill(constant, 0)
        return torch.einsum("nc,nchw->nhw", weights, activation).relu()


def _min_max(maps: Tensor) -> Tensor:
    """Bring each map of [R, 1, H, W] to [0, 1]; a constant one becomes 0."""
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)
