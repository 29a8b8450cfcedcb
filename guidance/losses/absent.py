"""Evidence for a class that is not in the image."""

import torch
from torch import Tensor, nn

from guidance.maps import EMPTY


class AbsentEvidenceLoss(nn.Module):
    """``sum(A+) / sum|A|`` for every map: the share of a map that speaks for its class.

    For classes that are absent from the image there is no mask; whatever speaks for them is wrong. The share
    does not depend on the map's scale, as the Energy loss does not.
    """

    def forward(self, attributions: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].

        Returns:
            [N] in [0, 1]; an empty map gives 0 and a zero gradient.
        """
        attributions = attributions.to(torch.promote_types(attributions.dtype, torch.float32))
        largest = attributions.detach().abs().amax(dim=(-2, -1), keepdim=True)
        empty = largest <= EMPTY
        scaled = attributions / torch.where(empty, 1.0, largest)
        positive = scaled.clamp(min=0).sum(dim=(-2, -1))
        total = scaled.abs().sum(dim=(-2, -1))
        empty = empty[:, 0, 0]
        return torch.where(empty, 0.0, positive / torch.where(empty, 1.0, total))
