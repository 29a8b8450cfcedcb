"""Scores that outlive the process: one line per chunk of grids, appended when the chunk is done."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from guidance.files import write_atomically


@dataclass(frozen=True)
class Chunk:
    """The scores of some grids.

    Attributes:
        grids: Their numbers.
        scores: Of each layer, for each grid, the score of each cell that is scored.
        seconds: What the maps took.
        passes: Forward passes of one grid that the maps took, whatever part of the model they ran.
    """

    grids: Sequence[int]
    scores: Mapping[str, Sequence[Sequence[float]]]
    seconds: float
    passes: int


class ScoreFile:
    """A file of chunks that is continued where a killed process left it.

    Args:
        path: Of the file, named after everything that decides the scores, so that they are never mixed.
        grids: How many grids there are; chunks of others are not taken up.
    """

    def __init__(self, path: Path, grids: int) -> None:
        self.path = path
        self.count = grids
        self.chunks: list[Chunk] = []
        if not path.is_file():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                chunk = Chunk(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # cut off by the end of the process
            if not set(chunk.grids) & self.done and all(grid < grids for grid in chunk.grids):
                self.chunks.append(chunk)
                kept.append(line)
        text = "".join(f"{line}\n" for line in kept)
        if text != path.read_text():
            write_atomically(path, text)

    @property
    def done(self) -> set[int]:
        """The grids that have scores."""
        return {grid for chunk in self.chunks for grid in chunk.grids}

    def clear(self) -> None:
        """Forget all scores."""
        self.path.unlink(missing_ok=True)
        self.chunks = []

    def append(self, chunk: Chunk) -> None:
        """Add the scores of some grids, on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(chunk)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.chunks.append(chunk)

    def scores(self) -> Iterable[tuple[str, int, Sequence[float]]]:
        """Yield (layer, grid, scores of its cells), layer by layer, the grids in order."""
        layers = list(dict.fromkeys(layer for chunk in self.chunks for layer in chunk.scores))
        for layer in layers:
            of_grid = {
                grid: scores
                for chunk in self.chunks
                for grid, scores in zip(chunk.grids, chunk.scores[layer], strict=True)
            }
            yield from ((layer, grid, of_grid[grid]) for grid in sorted(of_grid))
