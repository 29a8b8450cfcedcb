"""Rows of a batch against plain indexing, in every layout."""

from typing import Any

import pytest
import torch
from torch import Tensor

from guidance.models.rows import add_to_first, add_to_rows, take_rows

ROWS = torch.tensor([2, 0, 2])


def batch(layout: str, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    if layout == "vectors":
        return torch.randn(count, 3, dtype=torch.float64, generator=generator)
    x = torch.randn(count, 3, 5, 2, dtype=torch.float64, generator=generator)
    last: Any = {"memory_format": torch.channels_last}
    return x.contiguous(**last) if layout == "channels last" else x


LAYOUTS = ["vectors", "channels first", "channels last"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [ROWS, ROWS[:0]], ids=["some", "none"])
def test_taken_rows(layout: str, rows: Tensor) -> None:
    x = batch(layout)
    taken = take_rows(x, rows)
    torch.testing.assert_close(taken, x[rows], rtol=0, atol=0)
    if layout == "channels last":
        assert taken.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("of_added", LAYOUTS[1:])
def test_rows_that_are_added_to(layout: str, of_added: str) -> None:
    x, added = batch(layout), batch("vectors" if layout == "vectors" else of_added, len(ROWS))
    expected = x.clone()
    for row, one in zip(ROWS, added, strict=True):
        expected[row] += one
    with torch.no_grad():
        actual = add_to_rows(x, ROWS, added)
    assert actual.data_ptr() == x.data_ptr()
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_are_differentiated(layout: str) -> None:
    x, added = batch(layout).requires_grad_(), batch(layout, len(ROWS)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: add_to_rows(a.sin(), ROWS, b.sin()), (x, added))
    assert torch.autograd.gradcheck(lambda a: take_rows(a.sin(), ROWS), (x,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_first_rows_that_are_added_to(layout: str, count: int) -> None:
    x, added = batch(layout), batch(layout, count)
    expected = torch.cat([x[:count] + added, x[count:]])
    add_to_first(x, added)
    torch.testing.assert_close(x, expected, rtol=0, atol=0)
    torch.library.opcheck(add_to_first, (x, added))
