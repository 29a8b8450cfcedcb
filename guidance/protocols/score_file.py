"""Scores that outlive the process: one line per chunk of grids or pairs, appended when the chunk is done."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
        kept = []
        for line in path.read_text().splitlines():
            try:
                chunk = Chunk(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # cut off by the end of the process
            if not set(chunk.items) & self.done and all(item < count for item in chunk.items):
                self.chunks.append(chunk)
                kept.append(line)
        text = "".join(f"{line}\n" for line in kept)
        if text != path.read_text():
            write_atomically(path, text)

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
