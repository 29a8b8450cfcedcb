"""RES-style loss: distance to a mask whose border is not trusted, with some slack."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.maps import check_maps_and_masks, divide_by_maximum, upsample


class RESLoss(nn.Module):
    """Mean over the known pixels of ``relu(|M - A+ / max A+| - slack)`` for every map.

    In the manner of Gao et al., "RES: A Robust Framework for Guiding Visual Explanation", KDD 2022: people's
    annotations are coarse, so small deviations cost nothing (slack), and the mask is ternary: positive well
    inside it, negative well outside it, unknown in a band along its border. With slack and band 0 it is
    :class:`~guidance.losses.L1Loss`.

    Args:
        slack: The deviation that costs nothing, in [0, 1).
        band: Width of the unknown band, half on each side of the border, as a part of the longer side of the
            image, in [0, 1). The image's own edges are no border. A mask that lies wholly in its band keeps
            all its pixels positive.

    Raises:
        InputError: If an option is out of range.
    """

    def __init__(self, slack: float = 0.1, band: float = 0.1) -> None:
        super().__init__()
        for name, value in (("slack", slack), ("band", band)):
            if not 0 <= value < 1:
                raise InputError(f"loss.localization.{name} is {value}; it must lie in [0, 1)")
        self.slack = slack
        self.band = band

    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            masks: True inside the annotated boxes, bool [N, H, W].

        Returns:
            [N] in [0, 1]; 0 if no pixel is known. A map without positive evidence has a zero gradient.

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        check_maps_and_masks(attributions, masks)
        positive, negative = self.ternary(masks)
        normalised = divide_by_maximum(attributions.clamp(min=0))
        normalised = upsample(normalised, (masks.shape[-2], masks.shape[-1]))
        deviation = (normalised - masks.to(normalised.dtype)).abs()
        known = positive | negative
        # relu's gradient at 0 is 0: with no slack |x| must keep its own.
        excess = (deviation - self.slack).relu() if self.slack else deviation
        return (excess * known).sum(dim=(-2, -1)) / known.sum(dim=(-2, -1)).clamp(min=1)

    def ternary(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels that are surely inside, and those surely outside, bool [N, H, W] each."""
        reach = round(self.band * max(masks.shape[-2:]) / 2)
        inside = ~_dilated(~masks, reach)
        vanished = ~inside.flatten(1).any(dim=1)[:, None, None]
        return torch.where(vanished, masks, inside), ~_dilated(masks, reach)


def _dilated(masks: Tensor, reach: int) -> Tensor:
    """Return masks [N, H, W] grown by ``reach`` pixels in all directions; nothing comes over the edge."""
    if reach == 0:
        return masks
    grown = F.max_pool2d(masks[:, None].float(), 2 * reach + 1, stride=1, padding=reach)
    return grown[:, 0] > 0
