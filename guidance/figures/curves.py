"""Mean curves with their standard errors, one panel per model and quantity."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidance.figures.writing import write_figure

_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#db2777", "#0891b2", "#ca8a04", "#4b5563")
_CONTROL = "#6b7280"


@dataclass(frozen=True)
class CurveLine:
    """One line.

    Attributes:
        label: In the legend; lines of one label have one colour in all panels.
        means: At each place of the axis.
        errors: Their standard errors, drawn as a band.
        level: A value to compare the line with, dotted in its colour; None for none.
        control: Whether it is not a method but what methods are compared with: grey and dashed.
    """

    label: str
    means: Sequence[float]
    errors: Sequence[float]
    level: float | None = None
    control: bool = False


@dataclass(frozen=True)
class CurvePanel:
    """One panel.

    Attributes:
        row: Names the row, e.g. the model.
        column: Names the column, e.g. the quantity.
        lines: At least one.
    """

    row: str
    column: str
    lines: Sequence[CurveLine]


def draw_curves(
    path: str | Path,
    panels: Sequence[CurvePanel],
    x: Sequence[float] | Sequence[str],
    x_label: str,
    y_label: str,
    title: str = "",
) -> None:
    """Draw panels that share their axes.

    Args:
        path: The PNG to write.
        panels: At least one; rows and columns in the order of their first panel.
        x: The places of all lines: numbers, or names that stand at equal distances.
        x_label: Below.
        y_label: At the left.
        title: Stands above everything.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not panels:
        raise ValueError("there are no curves to draw")
    rows, columns = (
        list(dict.fromkeys(getattr(panel, name) for panel in panels)) for name in ("row", "column")
    )
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines if not line.control))
    size = (max(5.0, 0.6 + 3.3 * len(columns)), 1.3 + 2.5 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for line_of_axes in grid:
        for axes in line_of_axes:
            axes.set_visible(False)
    named = any(isinstance(place, str) for place in x)
    places = list(range(len(x))) if named else [float(place) for place in x]
    for panel in panels:
        axes = grid[rows.index(panel.row)][columns.index(panel.column)]
        axes.set_visible(True)
        for line in panel.lines:
            colour = _CONTROL if line.control else _COLOURS[labels.index(line.label) % len(_COLOURS)]
            _draw_line(axes, places, line, colour, marked=named)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if panel.row == rows[0]:
            axes.set_title(panel.column, fontsize=9)
        if panel.column == columns[0]:
            axes.set_ylabel(y_label if len(rows) == 1 else f"{panel.row}\n{y_label}", fontsize=8.5)
        if panel.row == rows[-1]:
            axes.set_xlabel(x_label, fontsize=8.5)
        axes.tick_params(labelsize=7.5)
        if named:
            axes.set_xticks(places, list(map(str, x)), rotation=30 if len(x) <= 8 else 90, ha="right")
    handles: dict[Any, Any] = {}
    for line_of_axes in grid:
        for axes in line_of_axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )
    heading = title if len(rows) > 1 or not rows[0] else f"{title}: {rows[0]}"
    figure.suptitle(heading, fontsize=10, x=0.01, ha="left")
    write_figure(figure, path)


def _draw_line(axes: Axes, places: Sequence[float], line: CurveLine, colour: str, marked: bool) -> None:
    axes.plot(
        places,
        line.means,
        color=colour,
        linewidth=1.4,
        linestyle="--" if line.control else "-",
        marker="o" if marked else None,
        markersize=3.5,
        label=line.label,
    )
    low = [mean - error for mean, error in zip(line.means, line.errors, strict=True)]
    high = [mean + error for mean, error in zip(line.means, line.errors, strict=True)]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    if line.level is not None:
        axes.axhline(line.level, color=colour, linewidth=1, linestyle=":")
