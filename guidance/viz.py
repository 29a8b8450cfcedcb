"""Pictures: attribution maps over their images, and the Pareto front. All are written atomically."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from torch import Tensor

from guidance.files import replacing
from guidance.maps import EMPTY, positive_evidence
from guidance.pareto import pareto_front

_BOX_COLOUR = "#2563eb"
_FRONT_COLOUR, _OTHER_COLOUR, _BASELINE_COLOUR = "#c2410c", "#b0b7bf", "#1d4ed8"
_METRIC_NAMES = {"f1_micro": "F1", "f1_macro": "macro F1", "map": "mAP", "epg": "EPG", "iou": "IoU"}
_NUDGES = ((6, 6), (7, 0), (0, 9), (6, -6), (-6, -6), (-7, 0), (0, -9), (-6, 6))
"""Where a point's label may go, in typographic points from the point; the first free place is taken."""


def robust_limit(attribution: Tensor) -> float:
    """Return the 99.5th percentile of A+, so that a few extreme pixels do not pale all others.

    Args:
        attribution: signed, floating point [h, w].

    Returns:
        A positive number: the maximum where 99.5 % of A+ is zero, 1 for an empty map.
    """
    positive = attribution.detach().float().clamp(min=0).flatten()
    limit = positive.quantile(0.995)
    limit = limit if limit > EMPTY else positive.max()
    return float(limit) if limit > EMPTY else 1.0


def overlay(image: Tensor, attribution: Tensor, limit: float | None = None) -> NDArray[np.float32]:
    """Draw a map's positive evidence, all that the metrics score, over a pale grey copy of its image.

    Args:
        image: RGB, uint8 [3, H, W].
        attribution: signed, floating point [h, w], brought to the image's size bilinearly; nan counts as 0.
        limit: The A+ of full colour, > 0; by default :func:`robust_limit` of the map at the image's size.

    Returns:
        RGB, float32 [H, W, 3] in [0, 1]: from the grey image (no evidence) over yellow to dark red.
    """
    height, width = image.shape[-2:]
    signed = attribution.detach().cpu().float().nan_to_num()
    positive = positive_evidence(signed[None], (height, width))[0]
    strength = (positive / (limit or robust_limit(positive))).clamp(max=1).numpy() ** 0.7
    luminance = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    grey = (image.detach().cpu().float() * luminance).sum(0).numpy() / 255
    pale = 0.4 + 0.6 * grey[..., None]
    colour = colormaps["YlOrRd"](0.25 + 0.75 * strength)[..., :3]
    alpha = np.minimum(1.25 * strength, 0.95)[..., None]
    blended: NDArray[np.float32] = (pale * (1 - alpha) + colour * alpha).astype(np.float32)
    return blended


@dataclass
class GalleryMap:
    """One map of a gallery.

    Attributes:
        title: Stands above the column, e.g. "before"; taken from the first row.
        attribution: signed, floating point [h, w].
        caption: Stands under the map, e.g. "EPG 63 %".
    """

    title: str
    attribution: Tensor
    caption: str = ""


@dataclass
class GalleryRow:
    """One (image, class) pair of a gallery.

    Attributes:
        image: RGB, uint8 [3, H, W].
        boxes: Of the explained class, [M, 4], xyxy, half-open, pixels of ``image``; M may be 0.
        class_name: Stands under the image, e.g. "dog, p = 0.93".
        maps: Left to right.
    """

    image: Tensor
    boxes: Tensor
    class_name: str
    maps: list[GalleryMap] = field(default_factory=list)


def _show(axes: Axes, picture: NDArray[Any], boxes: Tensor, caption: str) -> None:
    axes.imshow(picture, interpolation="nearest")
    for x0, y0, x1, y1 in boxes.tolist():
        corner, width, height = (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0  # pixel 0 is drawn from -0.5 to 0.5
        for line, colour in ((2.6, "white"), (1.4, _BOX_COLOUR)):
            axes.add_patch(Rectangle(corner, width, height, fill=False, linewidth=line, edgecolor=colour))
    axes.set(xticks=[], yticks=[], xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.set_xlabel(caption, fontsize=9, labelpad=4)


def draw_gallery(path: str | Path, rows: Sequence[GalleryRow], title: str = "") -> None:
    """Draw one row per (image, class) pair: the image with its boxes, then its maps, each on its own scale.

    Args:
        path: The PNG to write.
        rows: At least one; rows may have different numbers of maps and image sizes.
        title: Stands above everything.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("a gallery needs at least one row")
    columns = 1 + max(len(row.maps) for row in rows)
    figure = Figure(
        figsize=(2.5 * columns, 2.7 * len(rows) + 0.35 * bool(title) + 0.25), layout="constrained"
    )
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, cells in zip(rows, grid, strict=True):
        picture = row.image.detach().cpu().permute(1, 2, 0).numpy().astype(np.float32) / 255
        _show(cells[0], picture, row.boxes, row.class_name)
        for entry, axes in zip(row.maps, cells[1:], strict=False):
            _show(axes, overlay(row.image, entry.attribution), row.boxes, entry.caption)
        for axes in cells[1 + len(row.maps) :]:
            axes.set_axis_off()
    for entry, axes in zip(rows[0].maps, grid[0, 1:], strict=False):
        axes.set_title(entry.title, fontsize=10)
    figure.suptitle(title, fontsize=11)
    _write(figure, path)


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
    figure.draw_without_rendering()  # settles the layout, which the labels' places depend on
    figure.set_layout_engine("none")
    for column, axes in enumerate(panels, start=1):
        _label_points(axes, values[:, [0, column]].numpy(), front.tolist(), names)
    _write(figure, path)


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
                name, tuple(point), (dx, dy), textcoords="offset points", ha=side, va="center", fontsize=7.5
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


def _write(figure: Figure, path: str | Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
