"""A progress bar that ends where its loop ends, by an error too."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

Item = TypeVar("Item")


@contextmanager
def progress_over(
    items: Iterable[Item],
    description: str,
    total: int | None = None,
    shown: bool = True,
    console: Console | None = None,
) -> Iterator[Iterable[Item]]:
    """Show how far a loop has come; the bar is gone when the block is left.

    ``rich.progress.track`` alone keeps its bar open, and other bars out, where an error leaves the loop.

    Args:
        items: What the loop runs over.
        description: Stands before the bar.
        total: How many items there are, if they have no length.
        shown: Whether there is a bar at all: not for what takes less than two seconds.
        console: Where to show it; standard output by default.
    """
    with Progress(transient=True, disable=not shown, console=console) as progress:
        yield progress.track(items, total=total, description=description)
