"""A gallery: images with their boxes, and maps beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from guidance.figures.overlay import overlay
from guidance.figures.panel import show_panel
from guidance.figures.writing import write_figure


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
        show_panel(cells[0], picture, row.boxes, row.class_name)
        for entry, axes in zip(row.maps, cells[1:], strict=False):
            show_panel(axes, overlay(row.image, entry.attribution), row.boxes, entry.caption)
        for axes in cells[1 + len(row.maps) :]:
            axes.set_axis_off()
    for entry, axes in zip(rows[0].maps, grid[0, 1:], strict=False):
        axes.set_title(entry.title, fontsize=10)
    figure.suptitle(title, fontsize=11)
    write_figure(figure, path)
