"""L1 loss: the distance between the normalised positive map and the mask."""

from torch import Tensor, nn

from guidance.maps import check_maps_and_masks, divide_by_maximum, upsample


class L1Loss(nn.Module):
    """Mean over pixels of ``|M - A+ / max A+|`` for every map.

    Gao et al., "GRADIA", CSCW 2022, and "RES", KDD 2022, in the form of Rao et al., ICCV 2023. The positive
    part is taken and divided by its maximum (a part of the graph) at the map's own size, then brought to the
    mask's size bilinearly. Asks for evidence everywhere in the mask, not only somewhere.
    """

    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            masks: True inside the annotated boxes, bool [N, H, W], or soft, in [0, 1].

        Returns:
            [N] in [0, 1]. A map without positive evidence gives the mask's area fraction and a zero
            gradient.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        check_maps_and_masks(attributions, masks, soft=True)
        normalised = divide_by_maximum(attributions.clamp(min=0))
        normalised = upsample(normalised, (masks.shape[-2], masks.shape[-1]))
        return (normalised - masks.to(normalised.dtype)).abs().mean(dim=(-2, -1))
