"""Any loss against soft masks: boxes whose border fades."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.maps import check_maps_and_masks


class SoftMaskLoss(nn.Module):
    """Another loss, with masks blurred by a Gaussian and scaled to a maximum of 1.

    Annotated borders are rough; a soft mask asks for most of the evidence at an object's centre and forgives
    what lies just outside. Soft masks guide in GALS (Petryk et al., CVPR 2022) too, there from a language
    model.

    Args:
        localization: A loss that takes soft masks: Energy, L1, PPCE or RRR*.
        sigma: Standard deviation of the Gaussian, as a part of the longer side of the image, > 0.

    Raises:
        InputError: If ``sigma`` is out of range.
    """

    def __init__(self, localization: nn.Module, sigma: float = 0.05) -> None:
        super().__init__()
        if not 0 < sigma < 1:
            raise InputError(f"loss.localization.sigma is {sigma}; it must lie in (0, 1)")
        self.localization = localization
        self.sigma = sigma

    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        """Score N maps.

        Args:
            attributions: signed, floating point [N, h, w].
            masks: True inside the annotated boxes, bool [N, H, W].

        Returns:
            What the other loss returns, [N].

        Raises:
            ValueError: If shapes or dtypes do not fit.
        """
        check_maps_and_masks(attributions, masks, soft=True)
        losses: Tensor = self.localization(attributions, self.soften(masks))
        return losses

    def soften(self, masks: Tensor) -> Tensor:
        """Return masks in [0, 1], at least float32, [N, H, W]; beyond the image they go on as at its edge."""
        dtype = masks.dtype if masks.is_floating_point() else torch.float32
        sigma = self.sigma * max(masks.shape[-2:])
        reach = ceil(4 * sigma)
        positions = torch.arange(-reach, reach + 1, dtype=dtype, device=masks.device)
        kernel = (-0.5 * (positions / sigma).square()).exp()
        kernel = kernel / kernel.sum()
        padded = F.pad(masks[:, None].to(dtype), (reach,) * 4, mode="replicate")
        blurred = F.conv2d(F.conv2d(padded, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]
        largest = blurred.amax(dim=(-2, -1), keepdim=True)
        return blurred / torch.where(largest > 0, largest, 1.0)
