"""How a map's positive evidence is shared out among the cells of a grid."""

import torch
from torch import Tensor

from guidance.maps import positive_evidence

NO_EVIDENCE = 1e-7
"""A map whose positive evidence over the whole grid is not above this scores 0 in every cell."""


def cell_shares(attributions: Tensor, n: int, size: tuple[int, int]) -> Tensor:
    """Compute ``sum of A+ in cell i / sum of A+ over the grid`` for every cell of a grid of n x n images.

    The localization score of the grid pointing game: Böhle et al., "Convolutional Dynamic Alignment
    Networks", CVPR 2021 (arXiv 2104.00032); Rao et al., "Towards Better Understanding Attribution Methods",
    CVPR 2022 (arXiv 2205.10435), equation 1. The signed map is brought to the size of the grid bilinearly,
    then its positive part A+ is taken. A map that knows nothing of the cells scores 1 / n^2.

    Args:
        attributions: signed, floating point [P, h, w]; half precision is computed in float32.
        n: Cells along each side.
        size: (H, W) of the whole grid in pixels, multiples of n.

    Returns:
        [P, n * n] in [0, 1], the cells row by row. A map's shares add up to 1, or are all 0 if its evidence
        adds up to 1e-7 or less; nan or infinite evidence scores nan.

    Raises:
        ValueError: If the grid does not fall into n x n cells of whole pixels.
    """
    height, width = size
    if n < 1 or height % n or width % n:
        raise ValueError(f"a grid of {height} x {width} pixels has no {n} x {n} cells of one size")
    attributions = attributions.to(torch.promote_types(attributions.dtype, torch.float32))
    positive = positive_evidence(attributions, size)
    cells = positive.unflatten(2, (n, width // n)).unflatten(1, (n, height // n)).sum(dim=(2, 4)).flatten(1)
    total = cells.sum(dim=1, keepdim=True)
    empty = total <= NO_EVIDENCE
    return torch.where(empty, 0.0, cells / torch.where(empty, 1.0, total))
