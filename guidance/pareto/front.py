"""The Pareto front: points that no other point beats."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

_CHUNK = 1024


def _at_least(candidates: Tensor, rivals: Tensor) -> Tensor:
    """Whether some rival is >= each candidate in all columns; bool [candidates]."""
    result = torch.ones(len(candidates), len(rivals), dtype=torch.bool, device=candidates.device)
    for column in range(candidates.shape[1]):
        result &= rivals[:, column] >= candidates[:, None, column]
    return result.any(1)


def pareto_front(points: Tensor | ArrayLike) -> Tensor:
    """Mark the points on the Pareto front; larger is better in every column.

    A point is on the front unless another one is >= in all columns and > in at least one. The comparison is
    exact: nothing is rounded. Used over (F1, EPG, IoU) as in Rao et al., ICCV 2023, section 5.

    Args:
        points: [n, d], a tensor or anything NumPy turns into an array.

    Returns:
        bool [n], on the points' device. All copies of a front point are marked. A row with nan is never on
        the front and beats nothing.

    Raises:
        ValueError: If ``points`` is not two-dimensional.
    """
    values = points if isinstance(points, Tensor) else torch.as_tensor(np.asarray(points))
    if values.ndim != 2:
        raise ValueError(f"points must be [n, d]; got {list(values.shape)}")
    valid = ~values.isnan().any(1)
    if values.numel() == 0:
        return valid
    # Distinct rows in descending lexicographic order: whatever beats a row stands before it.
    rows, copies = values[valid].unique(dim=0, return_inverse=True)
    rows = rows.flip(0)
    kept = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    front = rows[:0]
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        alive = (~_at_least(chunk, front)).nonzero()[:, 0]
        chunk = chunk[alive]
        # Within the chunk each row is >= itself, so only earlier rows count.
        beaten = torch.ones(len(chunk), len(chunk), dtype=torch.bool, device=rows.device).tril(-1)
        for column in range(chunk.shape[1]):
            beaten &= chunk[:, column] >= chunk[:, None, column]
        best = ~beaten.any(1)
        kept[start + alive[best]] = True
        front = torch.cat([front, chunk[best]])
    result = torch.zeros_like(valid)
    result[valid] = kept.flip(0)[copies]
    return result
