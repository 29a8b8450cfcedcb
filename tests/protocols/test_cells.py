import pytest
import torch

from guidance.errors import InputError
from guidance.protocols.cells import to_cells, to_grids


@pytest.mark.parametrize("n", [1, 2, 3])
def test_cells_are_the_slices_row_by_row_and_become_the_grid_again(n: int) -> None:
    grids = torch.arange(2 * 4 * 6 * 12).reshape(2, 4, 6, 12)
    cells = to_cells(grids, n)
    height, width = 6 // n, 12 // n
    expected = [
        grid[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
        for grid in grids
        for row in range(n)
        for column in range(n)
    ]
    assert torch.equal(cells, torch.stack(expected))
    assert torch.equal(to_grids(cells, n), grids)
    assert to_grids(cells[:0], n).shape == (0, 4, 6, 12)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match="7 x 7 positions cannot be cut into 2 x 2"):
        to_cells(torch.zeros(1, 1, 7, 7), 2)
