"""Masks as runs of pixels: small enough to keep ragged in a batch, and drawn on the device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks to ``size``: a pixel is in if at least half of the old pixels it touches were.

    Args:
        masks: bool [C, H, W].
        size: (height, width).

    Returns:
        bool [C, height, width]. A mask that is not empty stays so: where no pixel is half covered, the best
        covered ones are in.
    """
    if masks.shape[-2:] == size or len(masks) == 0:
        return masks.new_zeros(0, *size) if len(masks) == 0 else masks
    covered = F.interpolate(masks[None].float(), size=size, mode="area")[0]
    best = covered.amax(dim=(-2, -1), keepdim=True)
    # A millionth forgives the rounding of the averages.
    resized: Tensor = (covered >= best.clamp(max=0.5) - 1e-6) & (best > 1e-6)
    return resized


def encode_runs(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Encode masks as runs of consecutive pixels, rows joined end to end.

    Args:
        masks: bool [C, H, W].

    Returns:
        The runs as half-open ranges of pixel numbers ``row * W + column``, int64 [R, 2], and the mask that
        each belongs to, int64 [R].
    """
    flat = masks.flatten(1).to(torch.int8)
    change = torch.diff(F.pad(flat, (1, 1)), dim=1)  # [C, H * W + 1]
    owners, starts = (change == 1).nonzero(as_tuple=True)
    ends = (change == -1).nonzero(as_tuple=True)[1]
    return torch.stack([starts, ends], dim=1), owners


def union_runs(runs: Tensor, owners: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """Draw the union of each owner's runs, all owners at once, as one cumulative sum of their ends.

    Args:
        runs: int64 [R, 2], half-open ranges of pixel numbers; an empty range draws nothing.
        owners: The mask each run belongs to, int64 [R] in [0, count).
        count: Number of masks P.
        size: (H, W).

    Returns:
        bool [P, H, W]; all False for an owner without runs.
    """
    height, width = size
    difference = torch.zeros(count, height * width + 1, dtype=torch.int32, device=runs.device)
    one = torch.ones((), dtype=torch.int32, device=runs.device)
    for ends, sign in zip(runs.unbind(1), (one, -one), strict=True):
        difference.index_put_((owners, ends), sign, accumulate=True)
    return difference.cumsum(1, dtype=torch.int32)[:, :-1].reshape(count, height, width) > 0
