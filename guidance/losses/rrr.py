"""RRR*: no evidence, for or against, outside the mask."""

from torch import Tensor, nn

from guidance.maps import check_maps_and_masks, divide_by_maximum, upsample


class RRRLoss(nn.Module):
    """``sum((1 - M) * (A / max|A|)^2)`` over the pixels of every map.

    Ross et al., "Right for the Right Reasons", IJCAI 2017, extended from gradients to any attribution by
    Rao et al., ICCV 2023 (RRR*). The signed map is divided by its largest absolute value (a part of the
    graph) at its own size, then brought to the mask's size bilinearly. A SUM over pixels, so the value grows
    with the image, and its weights are far smaller than the other losses'.
    """

    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            masks: True inside the annotated boxes, bool [N, H, W], or soft, in [0, 1].

        Returns:
            [N] in [0, H * W]. An empty map, or a mask that covers the image, gives 0 and a zero gradient.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        check_maps_and_masks(attributions, masks, soft=True)
        normalised = upsample(divide_by_maximum(attributions), (masks.shape[-2], masks.shape[-1]))
        return (normalised.square() * (1 - masks.to(normalised.dtype))).sum(dim=(-2, -1))
