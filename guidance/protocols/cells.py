"""Grids of images and of feature maps, to cells and back."""

from torch import Tensor

from guidance.errors import InputError


def to_cells(grids: Tensor, n: int) -> Tensor:
    """Cut grids [N, C, n * h, n * w] into their cells, row by row: [N * n * n, C, h, w].

    Raises:
        InputError: If the height or the width is no multiple of n.
    """
    height, width = grids.shape[-2:]
    if height % n or width % n:
        raise InputError(
            f"a feature map of {height} x {width} positions cannot be cut into {n} x {n} cells: choose a "
            "data.image_size that the network halves without a remainder (multiples of 32 for most)"
        )
    cells: Tensor = grids.unflatten(3, (n, width // n)).unflatten(2, (n, height // n))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def to_grids(cells: Tensor, n: int) -> Tensor:
    """Put cells [N * n * n, C, h, w] together into grids [N, C, n * h, n * w]; undoes :func:`to_cells`."""
    grids: Tensor = cells.unflatten(0, (len(cells) // (n * n), n, n))
    return grids.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
