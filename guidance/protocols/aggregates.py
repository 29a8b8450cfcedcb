"""The AggAtt figures of a grid protocol: one for each model and layer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from guidance.figures.aggregates import AggregateRow, draw_aggregates
from guidance.metrics.aggregated_maps import aggregate_maps, best_first, bin_bounds
from guidance.progress import progress_over
from guidance.protocols.map_file import MapFile

_CHUNK = 64


@dataclass(frozen=True)
class KeptMaps:
    """The maps of one model and one attribution, of the first scored cell of every grid.

    Attributes:
        model: The model's name.
        label: The attribution's name, with its setting.
        file: The maps.
        scores: Of each layer, the score of each grid.
    """

    model: str
    label: str
    file: MapFile
    scores: Mapping[str, Sequence[float]]


def draw_all_aggregates(folder: Path, title: str, n: int, cell: int, kept: Sequence[KeptMaps]) -> list[Path]:
    """Draw ``MODEL_LAYER.png`` for each model and layer, methods as rows.

    Args:
        folder: To write into.
        title: Of the protocol.
        n: Cells along each side.
        cell: Which cell the maps explain.
        kept: All maps.

    Returns:
        The pictures.
    """
    pairs = list(dict.fromkeys((one.model, layer) for one in kept for layer in one.scores))
    pictures = []
    with progress_over(pairs, "aggregating maps") as shown:
        for model, layer in shown:
            rows = [_row(one, layer, n, cell) for one in kept if one.model == model and layer in one.scores]
            path = folder / f"{_file_name(model)}_{_file_name(layer)}.png"
            draw_aggregates(path, rows, n, cell, f"{title}, {n} x {n}: {model} at {layer}")
            pictures.append(path)
    return pictures


def _row(kept: KeptMaps, layer: str, n: int, cell: int) -> AggregateRow:
    scores = torch.tensor(kept.scores[layer], dtype=torch.float64)
    chunks = torch.arange(len(scores)).split(_CHUNK)
    energies = []
    for numbers in chunks:
        maps = kept.file.read(layer, numbers.tolist()).double()
        side = maps.shape[-1] // n
        row, column = divmod(cell, n)
        rows, columns = (slice(k * side, (k + 1) * side) for k in (row, column))
        energies.append(maps[:, rows, columns].sum(dim=(1, 2)))
    energy = torch.cat(energies)
    means = aggregate_maps(lambda numbers: kept.file.read(layer, numbers), scores, energy, _CHUNK)
    ordered = scores[best_first(scores, energy)]
    bounds = bin_bounds(len(scores))
    of_bins = [ordered[first:end].mean() for first, end in bounds]  # nan without a map
    return AggregateRow(
        kept.label, means, [end - first for first, end in bounds], torch.stack(of_bins).tolist()
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
