"""Per-pixel cross-entropy: every pixel of the mask should carry as much evidence as the best one."""

import torch
from torch import Tensor, nn

from guidance.maps import check_maps_and_masks, divide_by_maximum, upsample


class PPCELoss(nn.Module):
    """``-(1 / sum M) * sum(M * log(A+ / max A+))`` for every map.

    Shen et al., "HAICS", 2021, in the form of Rao et al., ICCV 2023. The positive part is taken and divided
    by its maximum (a part of the graph) at the map's own size, then brought to the mask's size bilinearly.
    Evidence outside the mask costs nothing.

    Args:
        floor: The logarithm of a pixel without evidence, instead of minus infinity; its gradient is 0.
            The published code has -100. Lower logarithms of positive evidence are raised to it too.

    Raises:
        ValueError: If ``floor`` is not negative.
    """

    def __init__(self, floor: float = -100.0) -> None:
        super().__init__()
        if not floor < 0:
            raise ValueError(f"loss.localization.floor must be negative; got {floor}")
        self.floor = floor

    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            masks: True inside the annotated boxes, bool [N, H, W], or soft, in [0, 1].

        Returns:
            [N] in [0, -floor]. A map without positive evidence gives ``-floor`` and a zero gradient; an
            empty mask asks for nothing and gives 0.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        check_maps_and_masks(attributions, masks, soft=True)
        normalised = divide_by_maximum(attributions.clamp(min=0))
        normalised = upsample(normalised, (masks.shape[-2], masks.shape[-1]))
        # log of the denormal range would give infinite gradients, and log(0) a NaN behind the mask.
        evident = (normalised >= torch.finfo(normalised.dtype).tiny) & (masks > 0)
        logarithm = torch.where(evident, normalised, 1.0).log().clamp(min=self.floor)
        logarithm = torch.where(evident, logarithm, self.floor)
        pixels = masks.sum(dim=(-2, -1))
        return -(logarithm * masks).sum(dim=(-2, -1)) / torch.where(pixels > 0, pixels, 1)
