"""Scores that outlive the process: one line per chunk of grids or pairs, appended when the chunk is done."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guidance.files import write_atomically


@dataclass(frozen=True)
class Chunk:
    """The scores of some items: grids, or (image, class) pairs.

    Attributes:
        items: Their numbers.
        scores: Of each layer, for each item, its scores: of a grid, one per cell that is scored.
        seconds: What the maps took.
        passes: Forward passes of one item that the maps took, whatever part of the model they ran.
    """

    items: Sequence[int]
    scores: Mapping[str, Sequence[Sequence[float]]]
    seconds: float
    passes: int


class ScoreFile:
    """A file of chunks that is continued where a killed process left it.

    Args:
        path: Of the file, named after everything that decides the scores, so that they are never mixed.
        count: How many items there are; chunks of others are not taken up.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count
        self.chunks: list[Chunk] = []
        if not path.is_file():
            return
        content = path.read_bytes()
        kept = []
        for line in content.splitlines():
            chunk = _read(line, count)
            # One file has one set of layers, and each item once.
            if chunk is None or set(chunk.items) & self.done:
                continue
            if not self.chunks or chunk.scores.keys() == self.chunks[0].scores.keys():
                self.chunks.append(chunk)
                kept.append(line)
        whole = b"".join(line + b"\n" for line in kept)
        if whole != content:
            write_atomically(path, whole)

    @property
    def done(self) -> set[int]:
        """The items that have scores."""
        return {item for chunk in self.chunks for item in chunk.items}

    def clear(self) -> None:
        """Forget all scores."""
        self.path.unlink(missing_ok=True)
        self.chunks = []

    def append(self, chunk: Chunk) -> None:
        """Add the scores of some items, on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(chunk)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.chunks.append(chunk)

    def scores(self) -> Iterable[tuple[str, int, Sequence[float]]]:
        """Yield (layer, item, its scores), layer by layer, the items in order."""
        layers = list(dict.fromkeys(layer for chunk in self.chunks for layer in chunk.scores))
        for layer in layers:
            of_item = {
                item: scores
                for chunk in self.chunks
                for item, scores in zip(chunk.items, chunk.scores[layer], strict=True)
            }
            yield from ((layer, item, of_item[item]) for item in sorted(of_item))


def _read(line: bytes, count: int) -> Chunk | None:
    """Return the chunk that a line holds; None if it was cut off, or holds no scores of these items."""
    try:
        chunk = Chunk(**json.loads(line))
        items = chunk.items
        fits = _are(int, items) and all(0 <= item < count for item in items) and len(set(items)) == len(items)
        fits = fits and _are(float, [chunk.seconds]) and _are(int, [chunk.passes])
        for of_layer in chunk.scores.values():
            fits = fits and len(of_layer) == len(items) and all(_are(float, scores) for scores in of_layer)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return chunk if fits else None


def _are(kind: type[int] | type[float], values: Any) -> bool:
    """Whether values are a list of numbers of a kind; an integer that a float can hold is one too."""
    return isinstance(values, list) and all(
        (kind is float and type(value) is float) or (type(value) is int and abs(value) <= 2**53)
        for value in values
    )
