"""What is fuzzed: a parser, sound files to begin with, and the words of its format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from guidance.errors import InputError

T = TypeVar("T")

SEPARATOR = b"\n%%%\n"
"""Between the files of a parser that reads several."""


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        parse: Given the content and an empty folder of its own, parses the content and checks what comes of
            it. Whatever the content is, no error leaves it.
        sound: Files as they should be, which are damaged.
        words: Of the format, which are put in.
    """

    parse: Callable[[bytes, Path], None]
    sound: tuple[bytes, ...]
    words: tuple[bytes, ...]


def result_or_refusal(parse: Callable[[], T]) -> T | None:
    """Return what ``parse`` returns, or None if it refuses its input and says why."""
    try:
        return parse()
    except InputError as refusal:
        if not str(refusal).strip():
            raise AssertionError("a refusal must say what is wrong") from refusal
        return None


def split_files(content: bytes, count: int) -> list[bytes | None]:
    """Take content apart into ``count`` files; None for one that is not there."""
    parts: list[bytes | None] = [*content.split(SEPARATOR, count - 1)]
    return parts + [None] * (count - len(parts))
