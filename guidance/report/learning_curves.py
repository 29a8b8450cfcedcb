"""Learning curves of runs, from their ``metrics.csv``."""

import math
from collections.abc import Mapping

from guidance.report.page import Chart, Mark, Series
from guidance.report.run import Run
from guidance.report.study import Configuration, Study

_CURVES = {
    "val/f1_micro": ("F1 on val (%)", 100.0),
    "val/epg": ("EPG on val (%)", 100.0),
    "val/iou": ("IoU on val (%)", 100.0),
    "train/classification_loss": ("classification loss in training", 1.0),
    "train/localization_loss": ("localization loss in training", 1.0),
}


def learning_curves(study: Study, colours: Mapping[Configuration, int]) -> list[Chart]:
    """Return a chart for each of the metrics that some run logged; one line for each run."""
    charts = []
    for key, (label, scale) in _CURVES.items():
        series = [
            _series(configuration, run, colours[configuration], key, scale)
            for configuration in study.configurations
            for run in configuration.runs
        ]
        if any(one.path for one in series):
            charts.append(Chart("epochs", label, series))
    return charts


def curve(run: Run, key: str) -> list[tuple[float, float]]:
    """Return (epochs done, value) of what a run logged under a key.

    The start weights, where they were evaluated, stand at 0. The evaluation of the final weights, which
    repeats that of the last epoch, is left out.
    """
    last = run.points[-1]
    steps = max(int(last.step), 1) / (last.epoch + 1)
    rows = [row for row in run.curves if math.isfinite(row.get("step", math.nan) + row.get(key, math.nan))]
    if key.startswith("val/"):
        rows = rows[:-1]
    started = key.startswith("val/") and any(name.startswith("before/") for name in run.results)
    return [
        (0.0 if started and number == 0 else (row["step"] + 1) / steps, row[key])
        for number, row in enumerate(rows)
    ]


def _series(configuration: Configuration, run: Run, colour: int, key: str, scale: float) -> Series:
    path = [(x, scale * y) for x, y in curve(run, key)]
    weight = f", weight {run.weight:g}" if run.guided else ""
    tip = f"{run.name}\nseed {run.seed}{weight}"
    marks = [Mark(x, y, f"{tip}\nepoch {x:.3g}: {y:.4g}") for x, y in path if key.startswith("val/")]
    return Series(configuration.name, marks, path, colour, faint=True)
