"""Pointing game: whether the strongest point of a map lies on an object of its class."""

import torch
from torch import Tensor

from guidance.maps import EMPTY, check_maps_and_masks, positive_evidence


def pointing_game_hits(attributions: Tensor, masks: Tensor, tolerance: float = 15) -> Tensor:
    """Ask for every (image, class) pair whether the map's maximum lies on its mask, or near it.

    Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016 (arXiv 1608.00507). The signed
    map is brought to the mask's size bilinearly. Of several equal maxima the first counts, row by row.

    Args:
        attributions: signed, floating point [P, h, w].
        masks: True on the objects of the class, bool [P, H, W].
        tolerance: In pixels of the masks: a hit is a point at most this far (between centres of pixels) from
            a pixel of the mask; 0 asks for the mask itself.

    Returns:
        bool [P]. A map without positive evidence, or with nan, points at nothing and misses; nothing hits an
        empty mask.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    check_maps_and_masks(attributions, masks)
    height, width = masks.shape[-2:]
    positive = positive_evidence(attributions.float(), (height, width)).flatten(1)
    largest, point = positive.max(dim=1)  # nan is larger than anything
    row, column = point // width, point % width
    rows = torch.arange(height, device=masks.device) - row[:, None]
    columns = torch.arange(width, device=masks.device) - column[:, None]
    near = rows[:, :, None] ** 2 + columns[:, None, :] ** 2 <= tolerance**2
    return (near & masks).flatten(1).any(dim=1) & (largest > EMPTY)


def hits_by_chance(masks: Tensor, tolerance: float = 15) -> Tensor:
    """Return the probability that a pixel drawn at random is a hit, float64 [P].

    Args:
        masks: bool [P, H, W].
        tolerance: As in :func:`pointing_game_hits`.
    """
    distance = int(tolerance)
    offsets = torch.arange(-distance, distance + 1, device=masks.device)
    disc = (offsets[:, None] ** 2 + offsets**2 <= tolerance**2).float()[None, None]
    near = torch.nn.functional.conv2d(masks[:, None].float(), disc, padding=distance)
    return (near > 0.5).flatten(1).double().mean(dim=1)
