"""Rows of a batch, taken out and added to, as fast where channels are last as where they are first.

Torch (2.14, on a CPU) takes five to ten times as long for ``x[rows]`` and ``index_add`` if channels are last.
"""

import torch
from torch import Tensor

from guidance.models.kernels import ORDER


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return ``x[rows]``, in the layout of ``x``.

    Args:
        x: [N, ...].
        rows: Positions, also repeated ones, int64 [P].
    """
    if _channels_last(x):
        return x.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return x.index_select(0, rows)


def add_to_rows(x: Tensor, rows: Tensor, added: Tensor) -> Tensor:
    """Add to some rows: in place, unless what is computed is to be differentiated.

    Args:
        x: [N, ...], which nobody else holds.
        rows: Positions, also repeated ones, int64 [P].
        added: [P, ...].
    """
    if torch.is_grad_enabled():
        return x.index_add(0, rows, added)
    if _channels_last(x):
        x.permute(0, 2, 3, 1).index_add_(0, rows, added.permute(0, 2, 3, 1))
        return x
    return x.index_add_(0, rows, added)


@torch.library.custom_op("guidance::add_to_first", mutates_args=("x",), tags=ORDER)
def add_to_first(x: Tensor, added: Tensor) -> None:
    """Add to the first rows in place: an operator of torch, as a compiled program calls it.

    Args:
        x: [N, ...].
        added: [P, ...], with P <= N.
    """
    x[: len(added)] += added


ADD_TO_FIRST = torch.ops.guidance.add_to_first.default
"""The operator, as nodes of a graph call it."""


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
