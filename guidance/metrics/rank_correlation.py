"""Spearman's rank correlation of maps, all pairs at once."""

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Rank values from 0 up; equal values share the mean of their ranks.

    Args:
        values: [N, n].

    Returns:
        float64 [N, n].
    """
    ordered, order = values.sort(dim=1)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = begins.long().cumsum(dim=1) - 1  # of equal values, numbered within the row
    place = torch.arange(values.shape[1], device=values.device, dtype=torch.float64).expand(values.shape)
    sums, counts = torch.zeros_like(place), torch.zeros_like(place)
    sums = sums.scatter_add(1, group, place)
    counts = counts.scatter_add(1, group, torch.ones_like(place))
    ranks = torch.empty_like(place)
    return ranks.scatter_(1, order, (sums / counts.clamp(min=1)).gather(1, group))


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of each map of ``first`` with that of ``second``.

    Args:
        first: [N, h, w].
        second: [N, h, w].

    Returns:
        float64 [N] in [-1, 1]. 0 where a map is constant, as it has no order that could be shared; nan where
        one has a value that is not finite.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(f"maps must be two of [N, h, w]; got {list(first.shape)} and {list(second.shape)}")
    ranks = [average_ranks(maps.flatten(1)) for maps in (first, second)]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    norms = centred[0].norm(dim=1) * centred[1].norm(dim=1)
    constant = norms == 0
    products = (centred[0] * centred[1]).sum(dim=1)
    correlation = torch.where(constant, 0.0, products / torch.where(constant, 1.0, norms)).clamp(-1, 1)
    finite = first.isfinite().flatten(1).all(dim=1) & second.isfinite().flatten(1).all(dim=1)
    return torch.where(finite, correlation, torch.nan)
