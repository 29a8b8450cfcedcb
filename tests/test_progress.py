import io

import pytest
from rich.console import Console
from rich.progress import track

from guidance.progress import progress_over


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True)


def test_the_items_come_in_order_with_or_without_a_bar() -> None:
    for shown in (True, False):
        with progress_over([3, 1, 2], "counting", shown=shown, console=console()) as items:
            assert list(items) == [3, 1, 2]
    with progress_over(iter("ab"), "letters", total=2, console=console()) as letters:
        assert list(letters) == ["a", "b"]


def test_an_error_ends_the_bar_so_that_the_next_can_be_shown() -> None:
    one = console()
    with pytest.raises(ZeroDivisionError), progress_over([1, 0], "dividing", console=one) as items:  # noqa: PT012
        for item in items:
            1 / item
    assert list(track([1], console=one)) == [1]
