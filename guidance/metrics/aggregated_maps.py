"""AggAtt: what maps look like from the best to the worst, without choosing any by hand."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

BIN_EDGES = (0, 2, 5, 50, 95, 98, 100)
"""Percent of the maps, the best first: narrow bins at both ends, wide ones in the middle."""


def bin_bounds(count: int) -> list[tuple[int, int]]:
    """Divide maps that are sorted into the bins 0-2, 2-5, 5-50, 50-95, 95-98 and 98-100 %.

    Every map is in exactly one bin. Where a count does not divide, edges below the middle are rounded up and
    those above it down, so that the best and the worst map always stand at the ends; few maps leave bins
    empty.

    Args:
        count: Number of maps n >= 0.

    Returns:
        First and end position (half-open) of each of the 6 bins.
    """
    edges = [0]
    for percent in BIN_EDGES[1:]:
        exact = percent * count
        edge = -(-exact // 100) if percent < 50 else exact // 100
        edges.append(max(edge, edges[-1]))
    return list(pairwise(edges))


def best_first(scores: Tensor, energies: Tensor) -> Tensor:
    """Return the order of maps by falling score and, of equal scores, falling evidence inside the cell.

    Args:
        scores: [n]; nan comes last.
        energies: The positive evidence inside the cell, [n].

    Returns:
        Positions, int64 [n]. What is equal in both keeps its order.
    """
    by_energy = energies.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)
    by_score = scores.nan_to_num(nan=-torch.inf)[by_energy].argsort(descending=True, stable=True)
    return by_energy[by_score]


def aggregate_maps(
    read: Callable[[Sequence[int]], Tensor], scores: Tensor, energies: Tensor, chunk: int = 64
) -> Tensor:
    """Average the maps of each bin.

    AggAtt: Rao et al., "Towards Better Understanding Attribution Methods", CVPR 2022 (arXiv 2205.10435). Maps
    are averaged as they are, so that one with much evidence weighs more than one with little.

    Args:
        read: Returns the positive evidence of the maps at some positions, floating point [m, h, w]; at most
            ``chunk`` maps are in memory at a time.
        scores: Of each map, [n], n >= 1; see :func:`best_first`.
        energies: Of each map, [n].
        chunk: See ``read``.

    Returns:
        float64 [6, h, w]; nan for a bin without maps.
    """
    order = best_first(scores, energies).tolist()
    height, width = read(order[:1]).shape[-2:]
    means = torch.full((len(BIN_EDGES) - 1, height, width), torch.nan, dtype=torch.float64)
    for number, (first, end) in enumerate(bin_bounds(len(order))):
        if first < end:
            starts = range(first, end, chunk)
            sums = [read(order[start : min(start + chunk, end)]).double().sum(0) for start in starts]
            means[number] = torch.stack(sums).sum(0).cpu() / (end - first)
    return means
