"""Energy loss: the share of positive evidence that lies outside the mask."""

from torch import Tensor, nn

from guidance.maps import energy_in_mask


class EnergyLoss(nn.Module):
    """1 - EPG: ``1 - sum(M * A+) / sum(A+)`` for every map.

    The Energy loss of Rao et al., "Studying How to Efficiently and Effectively Guide Models with
    Explanations", ICCV 2023 (there without the constant 1, which has no gradient). The signed map is
    brought to the mask's size bilinearly, then its positive part is taken: exactly the map that the energy
    pointing game scores.

    The loss does not depend on the map's scale, and says nothing of how evidence is spread within the mask.
    """

    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            masks: True inside the annotated boxes, bool [N, H, W], or soft, in [0, 1].

        Returns:
            [N] in [0, 1]. A map without positive evidence gives 1 and a zero gradient, and so does an
            empty mask.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        return 1 - energy_in_mask(attributions, masks)
