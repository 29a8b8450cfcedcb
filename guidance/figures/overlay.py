"""A map's evidence over its image."""

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from guidance.maps import EMPTY, positive_evidence


def robust_limit(attribution: Tensor) -> float:
    """Return the 99.5th percentile of A+, so that a few extreme pixels do not pale all others.

    Args:
        attribution: signed, floating point [h, w].

    Returns:
        A positive number: the maximum where 99.5 % of A+ is zero, 1 for an empty map.
    """
    positive = attribution.detach().float().clamp(min=0).flatten()
    limit = positive.quantile(0.995)
    limit = limit if limit > EMPTY else positive.max()
    return float(limit) if limit > EMPTY else 1.0


def overlay(image: Tensor, attribution: Tensor, limit: float | None = None) -> NDArray[np.float32]:
    """Draw a map's positive evidence, all that the metrics score, over a pale grey copy of its image.

    Args:
        image: RGB, uint8 [3, H, W].
        attribution: signed, floating point [h, w], brought to the image's size bilinearly; nan counts as 0.
        limit: The A+ of full colour, > 0; by default :func:`robust_limit` of the map at the image's size.

    Returns:
        RGB, float32 [H, W, 3] in [0, 1]: from the grey image (no evidence) over yellow to dark red.
    """
    height, width = image.shape[-2:]
    signed = attribution.detach().cpu().float().nan_to_num()
    positive = positive_evidence(signed[None], (height, width))[0]
    strength = (positive / (limit or robust_limit(positive))).clamp(max=1).numpy() ** 0.7
    luminance = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    grey = (image.detach().cpu().float() * luminance).sum(0).numpy() / 255
    pale = 0.4 + 0.6 * grey[..., None]
    colour = colormaps["YlOrRd"](0.25 + 0.75 * strength)[..., :3]
    alpha = np.minimum(1.25 * strength, 0.95)[..., None]
    blended: NDArray[np.float32] = (pale * (1 - alpha) + colour * alpha).astype(np.float32)
    return blended
