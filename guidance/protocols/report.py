"""What the grid protocols found: a CSV, a table, a figure, and the numbers of ``results.json``."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from guidance.figures import BoxGroup, draw_box_plots
from guidance.files import write_atomically
from guidance.protocols.attributors import NamedAttributor
from guidance.protocols.score_file import ScoreFile

log = logging.getLogger(__name__)

COLUMNS = ("model", "method", "layer", "setting", "grid", "cell", "score")
"""Of ``scores.csv``."""


@dataclass(frozen=True)
class Scored:
    """One model explained by one attribution, with all its scores.

    Attributes:
        model: The model's name.
        named: The attribution.
        file: The scores.
    """

    model: str
    named: NamedAttributor
    file: ScoreFile


def report(
    title: str,
    n: int,
    cells: Sequence[int],
    scored: Sequence[Scored],
    output_dir: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Write ``scores.csv`` and ``boxplots.png``, and print a table.

    Args:
        title: Of the protocol.
        n: Cells along each side.
        cells: The numbers of the cells that were scored.
        scored: Whose scores are complete.
        output_dir: The folder to write into.
        console: Where to print; standard output by default.

    Returns:
        ``protocol``, ``chance``, ``scores`` (mean, standard deviation and quartiles of each model, method,
        layer and setting) and ``cost`` (seconds and forward passes of a map), plain.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    groups: list[BoxGroup] = []
    rows, costs = [], []
    for one in scored:
        named, of_layer = one.named, dict[str, list[float]]()
        for layer, grid, scores in one.file.scores():
            of_layer.setdefault(layer, []).extend(scores)
            for cell, score in zip(cells, scores, strict=True):
                writer.writerow([one.model, named.method, layer, named.setting, grid, cell, f"{score:.8g}"])
        for layer, values in of_layer.items():
            groups.append(BoxGroup(one.model, named.label, layer, values))
            identified = {
                "model": one.model, "method": named.method, "layer": layer, "setting": named.setting
            }  # fmt: skip
            rows.append(identified | _summary(values))
        maps = sum(len(values) for values in of_layer.values())
        costs.append(
            {
                "model": one.model,
                "method": named.method,
                "setting": named.setting,
                "seconds_per_map": sum(chunk.seconds for chunk in one.file.chunks) / maps,
                "passes_per_map": sum(chunk.passes for chunk in one.file.chunks) / maps,
            }
        )
    chance = 1 / n**2
    write_atomically(output_dir / "scores.csv", text.getvalue())
    heading = f"{title}, {n} x {n}"
    draw_box_plots(output_dir / "boxplots.png", groups, chance, heading)
    (console or Console()).print(_table(heading, chance, scored, rows, costs))
    for name in ("scores.csv", "boxplots.png", "manifest.json"):
        log.info("written: %s", output_dir / name)
    return {"protocol": title, "n": n, "chance": chance, "scores": rows, "cost": costs}


def _summary(values: Sequence[float]) -> dict[str, Any]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {
        "maps": len(values),
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "lower_quartile": low,
        "median": median,
        "upper_quartile": high,
    }


def _table(
    heading: str,
    chance: float,
    scored: Sequence[Scored],
    rows: Sequence[dict[str, Any]],
    costs: Sequence[dict[str, Any]],
) -> Table:
    """Return the mean scores, one line per model and attribution, and what a map costs."""
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    table = Table(title=f"{heading}: mean score in percent (chance {100 * chance:.1f})")
    table.add_column("model", overflow="fold")
    table.add_column("attribution", overflow="fold")
    for layer in layers:
        table.add_column(layer, justify="right", no_wrap=True)
    table.add_column("seconds\na map", justify="right")
    table.add_column("passes\na map", justify="right")
    means = {(row["model"], row["method"], row["setting"], row["layer"]): row["mean"] for row in rows}
    for one, cost in zip(scored, costs, strict=True):
        keys = [(one.model, one.named.method, one.named.setting, layer) for layer in layers]
        table.add_row(
            one.model,
            one.named.label,
            *(f"{100 * means[key]:.1f}" if key in means else "" for key in keys),
            f"{cost['seconds_per_map']:.3f}",
            f"{cost['passes_per_map']:.3g}",
        )
    return table
