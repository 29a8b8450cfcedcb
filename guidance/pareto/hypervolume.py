"""The hypervolume of a front: how much of the space of metrics it beats."""

import torch
from torch import Tensor

from guidance.pareto import pareto_front


def hypervolume(points: Tensor, reference: Tensor) -> float:
    """Compute the volume of what is beaten by at least one point and beats the reference point.

    Zitzler and Thiele, PPSN 1998. Exact, by slicing: points are sorted along the last axis, and between two
    of them the volume is a slab over what the higher ones beat in the other axes. O(n log n) for two
    objectives, O(n^2 log n) for three.

    Args:
        points: [n, d], d >= 1, larger is better, of any number type. Rows with nan count as missing; points
            that do not beat the reference in every objective add nothing.
        reference: [d], finite.

    Returns:
        The volume, >= 0, in the product of the objectives' units; 0 without points.

    Raises:
        ValueError: If the shapes do not fit, or the reference is not finite.
    """
    if points.ndim != 2 or points.shape[1] < 1 or reference.shape != points.shape[1:]:
        raise ValueError(
            f"points must be [n, d] and the reference [d]; "
            f"got {list(points.shape)} and {list(reference.shape)}"
        )
    if not reference.isfinite().all():
        raise ValueError(f"the reference must be finite; got {reference.tolist()}")
    extents = points.double() - reference.double()
    extents = extents[(extents > 0).all(dim=1)]  # nan is not > 0
    return float(_volume(extents[pareto_front(extents)]))


def _volume(extents: Tensor) -> Tensor:
    """The volume of the union of the boxes from the origin to each of the points [n, d], all > 0."""
    if len(extents) == 0:
        return extents.new_zeros(())
    if extents.shape[1] == 1:
        return extents.amax()
    ordered = extents[extents[:, -1].argsort(descending=True)]
    heights = ordered[:, -1] - torch.cat([ordered[1:, -1], ordered.new_zeros(1)])
    if extents.shape[1] == 2:
        return (ordered[:, 0].cummax(dim=0).values * heights).sum()
    bases = [_volume(ordered[:count, :-1]) for count in range(1, len(ordered) + 1)]
    return (torch.stack(bases) * heights).sum()
