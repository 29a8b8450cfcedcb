"""The explanation of one image: a column for each class, a row for each model or layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from guidance.figures.overlay import overlay
from guidance.figures.panel import show_panel
from guidance.figures.writing import write_figure

_WIDTH = 2.5  # inches of a panel
_CAPTION, _GAP, _TITLE, _LABEL = 0.25, 0.06, 0.5, 0.5  # inches


@dataclass(frozen=True)
class ExplanationCell:
    """One class as one model sees it.

    Attributes:
        attribution: signed, floating point [h, w].
        boxes: Of the class, [M, 4], xyxy, half-open, pixels of the image; M may be 0.
        caption: Stands under the map.
        rgba: The weights as a picture, [4, h, w] in [0, 1], see
            :func:`~guidance.figures.rgba.rgba_explanation`; None for none.
    """

    attribution: Tensor
    boxes: Tensor
    caption: str
    rgba: Tensor | None = None


@dataclass(frozen=True)
class ExplanationRow:
    """One model, or one layer of it.

    Attributes:
        title: Stands left of the row's maps.
        cells: One for each class.
    """

    title: str
    cells: Sequence[ExplanationCell]


def draw_explanation(
    path: str | Path,
    image: Tensor,
    boxes: Tensor,
    box_names: Sequence[str],
    classes: Sequence[str],
    rows: Sequence[ExplanationRow],
    title: str = "",
) -> None:
    """Draw an image with all its boxes, then each class's evidence over it, each map on its own scale.

    Where a row has weights as pictures, they stand under the maps.

    Args:
        path: The PNG to write.
        image: RGB, uint8 [3, H, W].
        boxes: All boxes, [M, 4], xyxy, half-open, pixels of ``image``; M may be 0.
        box_names: What each box is of, "" for none.
        classes: The names above the columns.
        rows: At least one.
        title: Stands above everything.

    Raises:
        ValueError: If there are no rows or classes, or a row has not one cell for each class.
    """
    if not rows or not classes or any(len(row.cells) != len(classes) for row in rows):
        raise ValueError(f"an explanation needs rows of cells, one for each of {len(classes)} classes")
    height, width = image.shape[-2:]
    lines = [(row, False) for row in rows] + [(row, True) for row in rows if _has_rgba(row)]
    lines.sort(key=lambda line: next(i for i, row in enumerate(rows) if row is line[0]))
    panel_height = min((_WIDTH - _LABEL / (len(classes) + 1)) * height / width, 1.5 * _WIDTH)
    heights = [panel_height + (_GAP if of_weights else _CAPTION) for _, of_weights in lines]
    figure = Figure(
        figsize=((len(classes) + 1) * _WIDTH, sum(heights) + _TITLE),
        layout=ConstrainedLayoutEngine(h_pad=0.02, hspace=0),
    )
    grid = figure.subplots(len(lines), len(classes) + 1, squeeze=False, height_ratios=heights)
    for (row, of_weights), panels in zip(lines, grid, strict=True):
        panels[0].set_axis_off()
        label = "weights W(x), as colours" if of_weights else row.title
        panels[1].set_ylabel(label, fontsize=9 if of_weights else 10, parse_math=False)
        for cell, axes in zip(row.cells, panels[1:], strict=True):
            if not of_weights:
                show_panel(axes, overlay(image, cell.attribution), cell.boxes, cell.caption)
            elif cell.rgba is None:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            else:
                _show_weights(axes, cell.rgba, (height, width), cell.boxes)
    _show_image(grid[0, 0], image, boxes, box_names)
    for name, axes in zip(classes, grid[0, 1:], strict=True):
        axes.set_title(name, fontsize=10, parse_math=False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    write_figure(figure, path)


def _has_rgba(row: ExplanationRow) -> bool:
    return any(cell.rgba is not None for cell in row.cells)


def _show_image(axes: Axes, image: Tensor, boxes: Tensor, names: Sequence[str]) -> None:
    axes.set_axis_on()
    picture = image.detach().cpu().permute(1, 2, 0).numpy().astype(np.float32) / 255
    show_panel(axes, picture, boxes, "")
    for (x0, y0, *_), name in zip(boxes.tolist(), names, strict=True):
        if name:
            axes.text(
                max(x0, 0),
                max(y0, 0),
                name,
                fontsize=6.5,
                color="white",
                va="top",
                bbox={"facecolor": "#2563eb", "edgecolor": "none", "pad": 1.0},
                parse_math=False,
                clip_on=True,
            )


def _show_weights(axes: Axes, rgba: Tensor, size: tuple[int, int], boxes: Tensor) -> None:
    resized = torch.nn.functional.interpolate(
        rgba.detach().cpu().float()[None], size=size, mode="bilinear", align_corners=False
    )[0]
    show_panel(axes, resized.permute(1, 2, 0).numpy(), boxes, "")
