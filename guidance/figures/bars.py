"""Bars of mean scores by group, with standard errors and chance levels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from guidance.figures.writing import write_figure

_COLOURS = ("#374151", "#bfdbfe", "#60a5fa", "#1d4ed8", "#c4b5fd")


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        row: Names the row of panels, e.g. the model.
        column: Names the column of panels, e.g. the metric.
        place: Names the place on the axis, e.g. the method.
        group: Names the colour, e.g. the size of the objects.
        mean: In [0, 1].
        error: Its standard error.
        chance: Drawn as a line across the bar; nan for none.
    """

    row: str
    column: str
    place: str
    group: str
    mean: float
    error: float
    chance: float


def draw_bars(path: str | Path, bars: Sequence[Bar], title: str = "") -> None:
    """Draw mean scores, one panel per row and column.

    Args:
        path: The PNG to write.
        bars: At least one; in the order in which panels, places and groups are to appear.
        title: Stands above everything.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not bars:
        raise ValueError("there are no scores to draw")
    rows, columns, places, groups = (
        list(dict.fromkeys(getattr(bar, name) for bar in bars))
        for name in ("row", "column", "place", "group")
    )
    width = 0.85 / len(groups)
    size = (max(5.0, len(columns) * (0.5 + 0.85 * len(places))), 1.4 + 2.4 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, line in zip(rows, panels, strict=True):
        for column, axes in zip(columns, line, strict=True):
            own = [bar for bar in bars if (bar.row, bar.column) == (row, column)]
            for bar in own:
                at = places.index(bar.place) + (groups.index(bar.group) - (len(groups) - 1) / 2) * width
                colour = _COLOURS[groups.index(bar.group) % len(_COLOURS)]
                axes.bar(
                    at, 100 * bar.mean, 0.92 * width, yerr=100 * bar.error, color=colour,
                    error_kw={"linewidth": 0.8, "ecolor": "#111827"},
                )  # fmt: skip
                if not math.isnan(bar.chance):
                    reach = (at - 0.5 * width, at + 0.5 * width)
                    axes.plot(reach, [100 * bar.chance] * 2, color="#dc2626", linewidth=1.4)
            axes.set_title(column, fontsize=9)
            axes.set(ylim=(0, 102), xticks=range(len(places)))
            axes.set_xticklabels([place.replace(" at ", "\nat ") for place in places], fontsize=7.5)
            axes.grid(axis="y", alpha=0.25, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(f"{row}\nscore (%)", fontsize=8.5)
    handles = [
        panels[0][0].bar(0, 0, color=_COLOURS[number % len(_COLOURS)], label=group)
        for number, group in enumerate(groups)
    ]
    handles += panels[0][0].plot([], [], color="#dc2626", linewidth=1.4, label="chance")
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    write_figure(figure, path)
