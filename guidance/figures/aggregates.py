"""AggAtt: the mean map of each bin of sorted maps, methods as rows and bins as columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from guidance.figures.writing import write_figure
from guidance.metrics.aggregated_maps import BIN_EDGES

_CELL_COLOUR = "#2563eb"
_PANEL = 1.25  # inches


@dataclass(frozen=True)
class AggregateRow:
    """The bins of one method.

    Attributes:
        label: Stands at the left.
        means: The mean map of each bin, floating point [6, h, w]; nan for a bin without maps.
        counts: How many maps each bin has.
        scores: The mean score of each bin, in [0, 1]; nan for a bin without maps.
    """

    label: str
    means: Tensor
    counts: Sequence[int]
    scores: Sequence[float]


def shared_limit(means: Tensor) -> float:
    """Return the 99.5th percentile of all bins of one method, the evidence of full colour.

    Args:
        means: >= 0, [bins, h, w]; nan is left out.

    Returns:
        A positive number: the maximum where 99.5 % is zero, 1 where all is.
    """
    values = means[~means.isnan()].double()
    if not len(values):
        return 1.0
    limit = float(values.quantile(0.995)) or float(values.max())
    return limit if limit > 0 else 1.0


def draw_aggregates(
    path: str | Path, rows: Sequence[AggregateRow], n: int, cell: int = 0, title: str = ""
) -> None:
    """Draw the bins, the best maps at the left, as in Rao et al., CVPR 2022 (arXiv 2205.10435).

    The bins of a row share one colour scale; rows do not, as methods have units of their own. The cell that
    the maps explain is framed.

    Args:
        path: The PNG to write.
        rows: At least one.
        n: Cells along each side of a grid.
        cell: Which cell is explained, row by row.
        title: Stands above everything.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("there are no maps to aggregate")
    bins = len(BIN_EDGES) - 1
    label_width = 0.25 + 0.075 * max(len(line) for row in rows for line in _wrapped(row.label).splitlines())
    figure = Figure(
        figsize=(label_width + _PANEL * bins, 0.75 + (_PANEL + 0.2) * len(rows)), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(len(rows), bins, squeeze=False)
    for line, row in zip(panels, rows, strict=True):
        limit = shared_limit(row.means)
        for axes, mean, count, score in zip(line, row.means, row.counts, row.scores, strict=True):
            _draw_panel(axes, mean, count, score, limit, n, cell)
        line[0].set_ylabel(_wrapped(row.label), rotation=0, ha="right", va="center", fontsize=8, labelpad=5)
    for axes, low, high in zip(panels[0], BIN_EDGES[:-1], BIN_EDGES[1:], strict=True):
        axes.set_title(f"{low}-{high} %", fontsize=8.5)
    panels[0][0].set_title("best\n0-2 %", fontsize=8.5)
    panels[0][-1].set_title("worst\n98-100 %", fontsize=8.5)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    write_figure(figure, path)


def _draw_panel(axes: Axes, mean: Tensor, count: int, score: float, limit: float, n: int, cell: int) -> None:
    height, width = mean.shape
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_aspect("equal")
    axes.spines[:].set_color("#9ca3af")
    if not count:
        axes.add_patch(
            Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor="#f3f4f6", hatch="///", ec="#d1d5db")
        )
        axes.set_xlabel("no map", fontsize=7, labelpad=2, color="#6b7280")
        return
    axes.imshow((mean / limit).clamp(0, 1).numpy(), cmap="Reds", vmin=0, vmax=1, interpolation="nearest")
    row, column = divmod(cell, n)
    corner = (column * width / n - 0.5, row * height / n - 0.5)
    axes.add_patch(
        Rectangle(corner, width / n, height / n, fill=False, edgecolor=_CELL_COLOUR, linewidth=1.6)
    )
    shown = "" if math.isnan(score) else f": {100 * score:.0f} %"
    axes.set_xlabel(f"{count} map{'s' if count > 1 else ''}{shown}", fontsize=7, labelpad=2)


def _wrapped(label: str) -> str:
    """Return a method's name in lines of one word each."""
    return label.replace(", ", " ").replace(" ", "\n")
