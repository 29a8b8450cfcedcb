"""The Pareto front of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from torch import Tensor

from guidance.figures.writing import take_names_literally, write_figure
from guidance.pareto import pareto_front

_FRONT_COLOUR, _OTHER_COLOUR, _BASELINE_COLOUR = "#c2410c", "#b0b7bf", "#1d4ed8"
_METRIC_NAMES = {"f1_micro": "F1", "f1_macro": "macro F1", "map": "mAP", "epg": "EPG", "iou": "IoU"}
_NUDGES = ((6, 6), (7, 0), (0, 9), (6, -6), (-6, -6), (-7, 0), (0, -9), (-6, 6))
"""Where a point's label may go, in typographic points from the point; the first free place is taken."""


def draw_front(
    path: str | Path,
    points: Tensor,
    front: Tensor,
    metrics: Sequence[str],
    labels: Sequence[str] | None = None,
    baseline: Sequence[float] | None = None,
    title: str = "",
) -> None:
    """Draw the points of a Pareto front: each further metric against the first, one panel each.

    Front points that are also on the front of a panel's two metrics alone are joined by a staircase, below
    and left of which lies what they beat.

    Args:
        path: The PNG to write.
        points: fractions [n, d], d >= 2; shown in percent. Rows with nan are left out.
        front: Which points are on the front of all d metrics, bool [n].
        metrics: The d names, e.g. ``"val/epg"``.
        labels: Names of the points, written beside those of the front where there is room, e.g. epochs.
        baseline: The d values of a reference, drawn as a star.
        title: Stands above the panels.

    Raises:
        ValueError: If the sizes do not fit.
    """
    sizes = (len(metrics), len(baseline or metrics), len(front), len(labels or points))
    if points.ndim != 2 or points.shape[1] < 2 or sizes != (points.shape[1],) * 2 + (len(points),) * 2:
        raise ValueError(
            f"points {list(points.shape)} do not fit {sizes[0]} metrics, {sizes[2:]} marks, labels"
        )
    valid = ~points.isnan().any(1).cpu()
    values = 100 * points.detach().cpu().double()[valid]
    front = front.cpu()[valid]
    names = [name for name, kept in zip(labels or [""] * len(points), valid.tolist(), strict=True) if kept]
    figure = Figure(figsize=(4.4 * (len(metrics) - 1), 3.9), layout=ConstrainedLayoutEngine(wspace=0.08))
    FigureCanvasAgg(figure)  # measures text
    panels = figure.subplots(1, len(metrics) - 1, squeeze=False)[0]
    for column, axes in enumerate(panels, start=1):
        pairs = values[:, [0, column]]
        axes.scatter(
            *pairs[~front].T,
            s=16,
            color=_OTHER_COLOUR,
            label="dominated" if not front.all() else None,
            zorder=2,
        )
        stairs = pairs[front][pareto_front(pairs[front])].unique(dim=0)
        axes.step(*stairs.T, where="pre", color=_FRONT_COLOUR, linewidth=1, alpha=0.6, zorder=3)
        axes.scatter(
            *pairs[front].T,
            s=34,
            color=_FRONT_COLOUR,
            edgecolor="white",
            linewidth=0.8,
            label="front",
            zorder=4,
        )
        if baseline:
            reference = (100 * baseline[0], 100 * baseline[column])
            axes.scatter(*reference, marker="*", s=130, color=_BASELINE_COLOUR, label="baseline", zorder=3)
        axes.set_xlabel(f"{_metric_name(metrics[0])} (%)")
        axes.set_ylabel(f"{_metric_name(metrics[column])} (%)")
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.1)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title, fontsize=11)
    take_names_literally(figure)
    figure.draw_without_rendering()  # settles the layout, which the labels' places depend on
    figure.set_layout_engine("none")
    for column, axes in enumerate(panels, start=1):
        _label_points(axes, values[:, [0, column]].numpy(), front.tolist(), names)
    write_figure(figure, path)


def _metric_name(name: str) -> str:
    short = name.rsplit("/", 1)[-1]
    return _METRIC_NAMES.get(short, short)


def _label_points(axes: Axes, pairs: NDArray[Any], front: Sequence[bool], names: Sequence[str]) -> None:
    """Write the front points' names where they cover no point, line or other name; leave out the rest."""
    pixels = axes.transData.transform(pairs)
    dots = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in pixels]
    lines = [line.get_path().transformed(axes.transData) for line in axes.lines]
    for point, name in ((point, name) for point, name, kept in zip(pairs, names, front, strict=True) if kept):
        for dx, dy in _NUDGES:
            side: Literal["left", "right", "center"] = "left" if dx > 0 else "right" if dx < 0 else "center"
            text = axes.annotate(
                name,
                tuple(point),
                (dx, dy),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7.5,
                parse_math=False,
            )
            area = text.get_window_extent()
            inside = axes.bbox.x0 < area.x0 and area.x1 < axes.bbox.x1
            if (
                inside
                and not area.count_overlaps(dots)
                and not any(line.intersects_bbox(area, filled=False) for line in lines)
            ):
                dots.append(area)
                break
            text.remove()
