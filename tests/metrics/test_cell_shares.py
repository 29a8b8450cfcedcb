"""The localization score of a grid's cells, against a slow version."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.metrics.cell_shares import cell_shares


def slow_shares(attribution: Tensor, n: int, size: tuple[int, int]) -> list[float]:
    positive = F.interpolate(attribution[None, None], size, mode="bilinear")[0, 0].clamp(min=0)
    height, width = size[0] // n, size[1] // n
    total = float(positive.sum())
    shares = []
    for row in range(n):
        for column in range(n):
            cell = positive[row * height : (row + 1) * height, column * width : (column + 1) * width]
            shares.append(float(cell.sum()) / total if total > 1e-7 else 0.0)
    return shares


@pytest.mark.parametrize(
    ("n", "side", "size"), [(2, 12, (12, 12)), (2, 4, (12, 20)), (3, 7, (12, 9)), (1, 3, (4, 4))]
)
def test_shares_are_those_of_the_slow_version_and_add_up_to_one(
    n: int, side: int, size: tuple[int, int]
) -> None:
    maps = torch.randn(5, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[3] = -maps[3].abs()
    maps[4] = 0
    found = cell_shares(maps, n, size)
    for one, shares in zip(maps, found, strict=True):
        assert shares.tolist() == pytest.approx(slow_shares(one, n, size), abs=1e-12)
    torch.testing.assert_close(found.sum(dim=1), torch.tensor([1.0, 1, 1, 0, 0], dtype=torch.float64))


def test_numbers_by_hand() -> None:
    attribution = torch.tensor([[3.0, -1.0], [1.0, 0.0]])
    assert cell_shares(attribution[None], 2, (2, 2)).tolist() == [[0.75, 0, 0.25, 0]]
    # Evidence is brought to the grid with its sign: the -1 takes from its neighbours between the two.
    assert cell_shares(attribution[None], 2, (4, 4))[0, 0] == pytest.approx(
        slow_shares(attribution, 2, (4, 4))[0], abs=1e-6
    )


def test_evidence_of_1e_7_or_less_is_none() -> None:
    maps = torch.tensor([0.9e-7, 1.1e-7], dtype=torch.float64)[:, None, None] * torch.tensor(
        [[1.0, 0], [0, 0]]
    )
    assert cell_shares(maps, 2, (2, 2))[:, 0].tolist() == [0, 1]


def test_half_precision_and_broken_maps() -> None:
    maps = torch.full((1, 2, 2), 60000.0, dtype=torch.float16)
    assert cell_shares(maps, 2, (8, 8)).tolist() == [[0.25] * 4]
    maps = torch.tensor([[[torch.nan, 0.0], [0.0, 1.0]]])
    assert cell_shares(maps, 2, (2, 2)).isnan().any()
    assert cell_shares(torch.zeros(0, 2, 2), 2, (2, 2)).shape == (0, 4)


def test_a_grid_without_whole_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="5 x 4 pixels has no 2 x 2 cells"):
        cell_shares(torch.zeros(1, 2, 2), 2, (5, 4))
