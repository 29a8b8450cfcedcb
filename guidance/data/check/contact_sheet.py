"""A picture of many images with all that is annotated in them."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from torch import Tensor

from guidance.data.annotation import Annotation
from guidance.data.boxes import rescale_boxes, union_masks
from guidance.data.image_dataset import ImageDataset
from guidance.errors import InputError
from guidance.files import replacing
from guidance.randomness import permutation

Colour = tuple[float, float, float]

_COLUMNS = 6
_CELL = 2.6  # inches
_CAPTION = 0.42  # inches
_TITLE = 0.35  # inches
_GAP = 0.08  # inches
_LEAST_PIXELS = 390  # of an image's side; a cell has as many at 150 dpi
_CAPTION_LENGTH = 42


def draw_contact_sheet(path: str | Path, dataset: ImageDataset, count: int, seed: int, title: str) -> None:
    """Draw some images of a split with their boxes, class names and segmentation masks.

    A class has one colour. Where the evidence is to lie outside, what is outside is hatched and the boxes
    are dashed. Under an image stand its name and what no box shows: classes without a box, the group. An
    image that cannot be read leaves a grey field that says so.

    Args:
        path: The PNG to write, six images a row.
        dataset: The split, N >= 1 images.
        count: How many images, at least 1; all N if there are no more.
        seed: Chooses them.
        title: Stands above them.

    Raises:
        ValueError: If ``count`` is not positive.
    """
    if count < 1:
        raise ValueError(f"a contact sheet needs at least one image; got {count}")
    chosen = permutation(len(dataset), seed)[:count].tolist()
    # Images of one shape stand together, so that little space is lost.
    chosen.sort(key=lambda index: _ratio(dataset.annotation(index)))
    columns = min(_COLUMNS, len(chosen))
    lines = [chosen[start : start + columns] for start in range(0, len(chosen), columns)]
    # A row is as high as its tallest image, at most a square.
    heights = [_CELL * min(1.0, max(_ratio(dataset.annotation(i)) for i in line)) for line in lines]
    width, height = columns * _CELL, _TITLE + sum(heights) + len(lines) * _CAPTION
    figure = Figure(figsize=(width, height), dpi=150)
    FigureCanvasAgg(figure)  # measures text
    bottom = height - _TITLE
    for line, row_height in zip(lines, heights, strict=True):
        bottom -= row_height
        for column, index in enumerate(line):
            left = column * _CELL + _GAP / 2
            place = (left / width, bottom / height, (_CELL - _GAP) / width, row_height / height)
            _draw(figure.add_axes(place, xticks=[], yticks=[]), dataset, index)
        bottom -= _CAPTION
    figure.text(_GAP / width, 1 - _TITLE / 2 / height, title, fontsize=11, va="center", parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def class_colour(number: int) -> Colour:
    """Return the colour of a class, RGB in [0, 1]: hues spread evenly however many classes there are."""
    return colorsys.hls_to_rgb((0.6 + number * 0.618034) % 1, (0.5, 0.62, 0.4)[number % 3], 0.9)


def _ratio(annotation: Annotation) -> float:
    return annotation.size[0] / annotation.size[1]


def _draw(axes: Axes, dataset: ImageDataset, index: int) -> None:
    annotation = dataset.annotation(index)
    height, width = annotation.size
    axes.spines[:].set_visible(False)
    _write_caption(axes, dataset, annotation, dataset.name(index))
    try:
        image = dataset.image(index, least=_LEAST_PIXELS)
        mask_classes, masks = (
            dataset.masks(index) if dataset.has_masks else (torch.zeros(0, dtype=torch.int64), None)
        )
    except (InputError, OSError):
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", anchor="S", facecolor="0.85")
        axes.text(0.5, 0.5, "cannot be read", ha="center", va="center", transform=axes.transAxes)
        return
    # Whatever the size the image was decoded at, the axes count the pixels of the annotation.
    extent = (0, width, height, 0)
    axes.imshow(image.permute(1, 2, 0).numpy(), extent=extent, interpolation="antialiased")
    if masks is not None and len(mask_classes):
        colours = [class_colour(int(k)) for k in mask_classes]
        _fill(axes, masks, colours, extent)
    if annotation.outside:
        _hatch_outside(axes, annotation, masks, extent)
    axes.set(xlim=(0, width), ylim=(height, 0), anchor="S")
    axes.apply_aspect()
    _draw_boxes(axes, dataset.classes, annotation)


def _write_caption(axes: Axes, dataset: ImageDataset, annotation: Annotation, name: str) -> None:
    name = Path(name).name
    if len(name) > _CAPTION_LENGTH:
        name = "…" + name[-_CAPTION_LENGTH + 1 :]
    boxed = set(annotation.box_classes.tolist())
    unboxed = [dataset.classes[k] for k in annotation.labels.nonzero().flatten().tolist() if k not in boxed]
    remarks = [] if annotation.labels.any() else ["no object"]
    if annotation.group >= 0 and dataset.groups:
        remarks.append(f"group: {dataset.groups[annotation.group]}")
    if unboxed:
        remarks.append(f"no box: {', '.join(unboxed)}")
    second = "; ".join(remarks)
    if len(second) > _CAPTION_LENGTH:
        second = second[: _CAPTION_LENGTH - 1] + "…"
    axes.set_xlabel(f"{name}\n{second}", fontsize=7, labelpad=3, parse_math=False)


def _fill(
    axes: Axes, masks: Tensor, colours: Sequence[Colour], extent: tuple[float, float, float, float]
) -> None:
    """Lay translucent masks over the image."""
    layer: NDArray[np.float32] = np.zeros((*masks.shape[1:], 4), np.float32)
    for mask, colour in zip(masks.numpy(), colours, strict=True):
        layer[mask] = (*colour, 0.4)
    axes.imshow(layer, extent=extent, interpolation="nearest")


def _hatch_outside(
    axes: Axes,
    annotation: Annotation,
    masks: Tensor | None,
    extent: tuple[float, float, float, float],
) -> None:
    """Hatch the pixels in no mask, or, without masks, in no box."""
    inside = masks.any(dim=0) if masks is not None and len(masks) else _in_boxes(annotation)
    if not inside.any():
        return
    outside = (~inside).numpy()
    layer: NDArray[np.float32] = np.zeros((*outside.shape, 4), np.float32)
    layer[outside] = (1, 1, 1, 0.3)
    axes.imshow(layer, extent=extent, interpolation="nearest")
    height, width = outside.shape
    hatched = axes.contourf(
        np.arange(width) + 0.5,
        np.arange(height) + 0.5,
        outside.astype(np.float32),
        levels=[0.5, 1.5],
        colors="none",
        hatches=["////"],
    )
    hatched.set(edgecolor=(0, 0, 0, 0.6), linewidth=0)


def _in_boxes(annotation: Annotation) -> Tensor:
    boxes = rescale_boxes(annotation.boxes, annotation.size, annotation.size)
    return union_masks(boxes, torch.zeros(len(boxes), dtype=torch.int64), 1, annotation.size)[0]


def _draw_boxes(axes: Axes, classes: Sequence[str], annotation: Annotation) -> None:
    line = "--" if annotation.outside else "-"
    boxes = list(zip(annotation.boxes.tolist(), annotation.box_classes.tolist(), strict=True))
    boxes.sort(key=lambda item: -(item[0][2] - item[0][0]) * (item[0][3] - item[0][1]))
    for (x0, y0, x1, y1), k in boxes:
        for thickness, colour, style in ((2.4, "white", "-"), (1.3, class_colour(k), line)):
            axes.add_patch(
                Rectangle(
                    (x0, y0),
                    x1 - x0,
                    y1 - y0,
                    fill=False,
                    linewidth=thickness,
                    edgecolor=colour,
                    linestyle=style,
                )
            )
    taken: list[Bbox] = []
    named: set[int] = set()
    for box, k in boxes:
        # One name per class is always there; its colour tells the rest.
        if _name_box(axes, classes[k], class_colour(k), box, taken, at_any_rate=k not in named):
            named.add(k)


def _name_box(
    axes: Axes, name: str, colour: Colour, box: Sequence[float], taken: list[Bbox], at_any_rate: bool
) -> bool:
    """Write a class's name at a corner of its box where it covers no other name; say whether it stands."""
    dark = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 0.5
    text = axes.text(
        0,
        0,
        name,
        fontsize=6.5,
        color="white" if dark else "black",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0},
        parse_math=False,
    )
    x0, y0, x1, y1 = box
    corners = [(x, y) for y in (y0, y1) for x in (x0, x1)]
    drawn = axes.transData.transform([(x0, y1), (x1, y0)])
    size, own = drawn[1] - drawn[0], text.get_window_extent()
    # A name would hide what is in a box that is hardly larger.
    roomy = size[0] >= own.width and size[1] >= 2 * own.height
    places = [(x, y, within) for within in ((True, False) if roomy else (False,)) for x, y in corners]
    for x, y, within in places:
        text.set_position((x, y))
        text.set(ha="left" if x == x0 else "right", va="top" if (y == y0) == within else "bottom")
        area = text.get_window_extent().padded(2)
        if _within(area, axes.bbox) and not area.count_overlaps(taken):
            taken.append(area)
            return True
    if at_any_rate:
        taken.append(area)
        return True
    text.remove()
    return False


def _within(area: Bbox, frame: Bbox) -> bool:
    """Return whether an area leaves a frame by three dots at most."""
    return bool((area.min >= np.subtract(frame.min, 3)).all() and (area.max <= np.add(frame.max, 3)).all())
