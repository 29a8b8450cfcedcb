"""The paper's figure: EPG against F1 and IoU against F1, a colour for each configuration."""

import math
from collections.abc import Collection, Sequence

import torch

from guidance.pareto import pareto_front
from guidance.report.page import Chart, Mark, Series, staircase
from guidance.report.page.chart import Shape
from guidance.report.run import Point
from guidance.report.study import Baseline, Configuration

_SHAPES: tuple[Shape, ...] = ("circle", "square", "diamond", "triangle")
_NAMES = ("F1", "EPG", "IoU")


def front_charts(
    configurations: Sequence[Configuration],
    colours: dict[Configuration, int],
    split: str,
    panels: Collection[Point],
) -> list[Chart]:
    """Return two charts.

    Args:
        configurations: Comparable ones.
        colours: A number for each.
        split: ``val``, with the beaten epochs in the background, or ``test``: what val's fronts score there.
        panels: The points for which there is a panel that a click shows; see :func:`panel_name`.
    """
    return [
        Chart(
            f"F1 on {split} (%)",
            f"{_NAMES[column]} on {split} (%)",
            [
                *(_beaten(one, colours[one], column) for one in configurations if split == "val"),
                *(_front(one, colours[one], column, split, panels) for one in configurations),
                *_baselines(configurations, column, split, panels),
            ],
            f"{_NAMES[column]} against F1",
        )
        for column in (1, 2)
    ]


def panel_name(point: Point) -> str:
    """Return the name of a point's panel."""
    return f"{point.run.folder}#{point.epoch}#{point.checkpoint}"


def describe(point: Point) -> str:
    """Return what is said of a point while the pointer is on it."""
    weight = f", weight {point.run.weight:g}" if point.run.guided else ""
    lines = [f"{point.run.name}, epoch {point.epoch}", f"seed {point.run.seed}{weight}"]
    for split in ("val", "test"):
        values = point.values(split)
        if not any(map(math.isnan, values)):
            numbers = ", ".join(
                f"{name} {100 * value:.1f}" for name, value in zip(_NAMES, values, strict=True)
            )
            lines.append(f"{split}: {numbers}")
    return "\n".join(lines)


def _beaten(configuration: Configuration, colour: int, column: int) -> Series:
    others = [point for point in configuration.points if point not in configuration.front]
    marks = [_mark(point, column, "val", ()) for point in others]
    return Series(f"{configuration.name}: beaten epochs", marks, colour=colour, faint=True)


def _front(
    configuration: Configuration, colour: int, column: int, split: str, panels: Collection[Point]
) -> Series:
    marks = [_mark(point, column, split, panels) for point in configuration.front]
    marks = [mark for mark in marks if math.isfinite(mark.x) and math.isfinite(mark.y)]
    path = []
    if marks and split == "val":
        best = pareto_front(torch.tensor([(mark.x, mark.y) for mark in marks], dtype=torch.float64))
        path = staircase((mark.x, mark.y) for mark, kept in zip(marks, best.tolist(), strict=True) if kept)
    shape = _SHAPES[colour % len(_SHAPES)]
    return Series(configuration.name, marks, path, colour, shape)


def _baselines(
    configurations: Sequence[Configuration], column: int, split: str, panels: Collection[Point]
) -> list[Series]:
    found: dict[str, Baseline] = {}
    for configuration in configurations:
        for baseline in configuration.baselines:
            if baseline is not None:
                found.setdefault(baseline.name, baseline)
    marks = []
    for name, baseline in found.items():
        x, y = (
            100 * baseline.metrics.get(f"{split}/{key}", math.nan)
            for key in ("f1_micro", ("epg", "iou")[column - 1])
        )
        tip = f"baseline: {name}\nF1 {x:.1f}, {_NAMES[column]} {y:.1f} on {split}"
        shows = panel_name(baseline.point) if baseline.point and baseline.point in panels else ""
        marks.append(Mark(x, y, tip, shows))
    return [Series("baselines", marks, colour=7, shape="star")] if marks else []


def _mark(point: Point, column: int, split: str, panels: Collection[Point]) -> Mark:
    values = point.values(split)
    shows = panel_name(point) if point in panels else ""
    return Mark(100 * values[0], 100 * values[column], describe(point), shows)
