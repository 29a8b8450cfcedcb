"""Explanations of dynamic linear models as pictures: the weights in colour."""

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.maps import EMPTY

_KERNEL = 15
_PERCENTILE = 0.995
_NONE = 1e-12


def rgba_explanation(inputs: Tensor, weights: Tensor) -> Tensor:
    """Show the weights W(x) of a logit as a picture: what colour they look for, opaque where they are large.

    Böhle et al., "B-cos Networks", CVPR 2022. Colour: W is clamped at 0 and of each pair (r and 1 - r, ...)
    the first one's share is taken. Opacity: the norm of W over channels, 0 where the pixel speaks against the
    class, the mean over 15 x 15 pixels, divided by its 99.5th percentile and clipped.

    Args:
        inputs: ``[x, 1 - x]``, float [N, 6, H, W].
        weights: W(x), of that shape.

    Returns:
        [N, 4, H, W] in [0, 1]; transparent where W is 0 everywhere.

    Raises:
        ValueError: If the shapes differ or there are not 6 channels.
    """
    if inputs.shape != weights.shape or inputs.ndim != 4 or inputs.shape[1] != 6:
        raise ValueError(
            f"inputs and weights must be [N, 6, H, W]; got {list(inputs.shape)} and {list(weights.shape)}"
        )
    # Dividing by the largest weight of the pixel keeps the shares of small weights apart from epsilon.
    colour = (weights / (weights.abs().amax(1, keepdim=True) + _NONE)).clamp(min=0)
    colour = colour[:, :3] / (colour[:, :3] + colour[:, 3:] + _NONE)
    against = (inputs * weights).sum(1, keepdim=True) < 0
    alpha = torch.where(against, _NONE, torch.linalg.vector_norm(weights, dim=1, keepdim=True))
    alpha = F.avg_pool2d(alpha, _KERNEL, stride=1, padding=_KERNEL // 2)
    limit = alpha.flatten(1).quantile(_PERCENTILE, dim=1)[:, None, None, None]
    alpha = torch.where(limit <= EMPTY, 0.0, (alpha / limit.clamp(min=EMPTY)).clamp(0, 1))
    return torch.cat([colour, alpha], dim=1)
