"""Charts of points and lines, as SVG whose points tell what they are and can be clicked."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from guidance.report.page.axis import Axis, fitted_axis, tick_label

COLOURS = 8
"""The number of colours; a series' number is taken modulo this."""

Shape = Literal["circle", "square", "diamond", "triangle", "star"]

_WIDTH, _HEIGHT = 460, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 446, 26, 286
_MOST_SIZE = 6


@dataclass(frozen=True)
class Mark:
    """A point of a chart.

    Attributes:
        x: Its place; a mark that is not finite is left out.
        y: Likewise.
        tip: Shown while the pointer is on it; may have several lines.
        shows: The name of the panel that a click shows; "" for none.
    """

    x: float
    y: float
    tip: str = ""
    shows: str = ""


@dataclass(frozen=True)
class Series:
    """Marks and a line of one colour.

    Attributes:
        name: Stands in the legend, where a click hides the series and shows it again.
        marks: Points.
        path: The corners of a line; not finite values leave gaps.
        colour: A number, the same one for what belongs together.
        shape: Of the marks.
        faint: Whether it is background: small, pale marks and a thin line.
    """

    name: str
    marks: Sequence[Mark] = ()
    path: Sequence[tuple[float, float]] = ()
    colour: int = 0
    shape: Shape = "circle"
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """What :meth:`Section.charts` draws.

    Attributes:
        x_label: With the unit, e.g. "F1 on val (%)".
        y_label: Likewise.
        series: Later ones lie on top.
        title: Stands above.
    """

    x_label: str
    y_label: str
    series: Sequence[Series] = field(default_factory=list)
    title: str = ""


def staircase(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the line below and left of which lies what a two-dimensional front beats.

    Args:
        points: The front, larger is better, in any order.
    """
    corners: list[tuple[float, float]] = []
    for x, y in sorted(set(points)):
        if corners:
            corners.append((corners[-1][0], y))
        corners.append((x, y))
    return corners


def draw_chart(chart: Chart, numbers: dict[str, int]) -> Markup:
    """Return a chart as an inline SVG.

    Args:
        chart: What to draw.
        numbers: The number of each series' name in the legend.
    """
    marks = [mark for series in chart.series for mark in series.marks if _finite(mark.x, mark.y)]
    corners = [corner for series in chart.series for corner in series.path if _finite(*corner)]
    xs = [mark.x for mark in marks] + [x for x, _ in corners]
    ys = [mark.y for mark in marks] + [y for _, y in corners]
    x_axis, y_axis = fitted_axis(xs, _LEFT, _RIGHT), fitted_axis(ys, _BOTTOM, _TOP)
    body = Markup("").join(
        _draw_series(series, numbers[series.name], x_axis, y_axis) for series in chart.series
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{frame}{empty}{body}</svg>'
    ).format(
        w=_WIDTH,
        h=_HEIGHT,
        label=chart.title or f"{chart.y_label} against {chart.x_label}",
        frame=_draw_frame(chart, x_axis, y_axis),
        empty="" if xs else Markup('<text class="empty" x="250" y="160">nothing to draw</text>'),
        body=body,
    )


def draw_legend(charts: Sequence[Chart], numbers: dict[str, int]) -> Markup:
    """Return the buttons that name the series and hide them."""
    first = {series.name: series for chart in reversed(charts) for series in reversed(chart.series)}
    return Markup("").join(
        Markup(
            '<button type="button" class="key" data-series="{n}" aria-pressed="true">'
            '<svg viewBox="-8 -8 16 16" class="c{c}{faint}">{shape}</svg>{name}</button>'
        ).format(
            n=number,
            c=first[name].colour % COLOURS,
            faint=" faint" if first[name].faint else "",
            shape=_draw_key(first[name]),
            name=name,
        )
        for name, number in numbers.items()
    )


def number_series(charts: Sequence[Chart]) -> dict[str, int]:
    """Number the names of the series of charts that share a legend."""
    names = dict.fromkeys(series.name for chart in charts for series in chart.series)
    return {name: number for number, name in enumerate(names)}


def _finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _draw_frame(chart: Chart, x_axis: Axis, y_axis: Axis) -> Markup:
    lines = [
        Markup(
            '<line class="grid" x1="{x}" x2="{x}" y1="{a}" y2="{b}"/><text x="{x}" y="{t}">{v}</text>'
        ).format(x=x_axis.place(value), a=_TOP, b=_BOTTOM, t=_BOTTOM + 16, v=tick_label(value))
        for value in x_axis.ticks()
    ]
    lines += [
        Markup(
            '<line class="grid" x1="{a}" x2="{b}" y1="{y}" y2="{y}"/>'
            '<text class="y" x="{t}" y="{y}">{v}</text>'
        ).format(y=y_axis.place(value), a=_LEFT, b=_RIGHT, t=_LEFT - 7, v=tick_label(value))
        for value in y_axis.ticks()
    ]
    middle = (_TOP + _BOTTOM) / 2
    lines += [
        Markup('<text class="label" x="{}" y="{}">{}</text>').format(
            (_LEFT + _RIGHT) / 2, 320, chart.x_label
        ),
        Markup('<text class="label" transform="translate(12 {}) rotate(-90)">{}</text>').format(
            middle, chart.y_label
        ),
        Markup('<text class="title" x="{}" y="14">{}</text>').format((_LEFT + _RIGHT) / 2, chart.title),
    ]
    return Markup("").join(lines)


def _draw_series(series: Series, number: int, x_axis: Axis, y_axis: Axis) -> Markup:
    size = 2.2 if series.faint else 4.6 if not series.path or series.shape != "circle" else 3.6
    parts = []
    drawing = "M"
    for x, y in series.path:
        if _finite(x, y):
            parts.append(f"{drawing}{x_axis.place(x)} {y_axis.place(y)}")
        drawing = "L" if _finite(x, y) else "M"
    line = Markup('<path class="line" d="{}"/>').format(" ".join(parts)) if parts else Markup("")
    marks = Markup("").join(
        _draw_mark(mark, series.shape, size, x_axis, y_axis)
        for mark in series.marks
        if _finite(mark.x, mark.y)
    )
    return Markup('<g class="series c{}{}" data-series="{}">{}{}</g>').format(
        series.colour % COLOURS, " faint" if series.faint else "", number, line, marks
    )


def _draw_mark(mark: Mark, shape: Shape, size: float, x_axis: Axis, y_axis: Axis) -> Markup:
    attributes = Markup("")
    if mark.tip:
        attributes += Markup(' data-tip="{}" aria-label="{}" tabindex="0"').format(mark.tip, mark.tip)
    if mark.shows:
        attributes += Markup(' data-shows="{}" role="button"').format(mark.shows)
    return Markup('<g class="mark" transform="translate({} {})"{}><circle class="hit" r="{}"/>{}</g>').format(
        x_axis.place(mark.x), y_axis.place(mark.y), attributes, _MOST_SIZE + 2, _draw_shape(shape, size)
    )


def _draw_key(series: Series) -> Markup:
    line = Markup('<path class="line" d="M-8 0L8 0"/>') if series.path else Markup("")
    return line + _draw_shape(series.shape, 2.5 if series.faint else 5) if series.marks else line


def _draw_shape(shape: Shape, size: float) -> Markup:
    if shape == "circle":
        return Markup('<circle class="dot" r="{}"/>').format(size)
    if shape == "star":
        size *= 1.7
        radii = [size if corner % 2 == 0 else 0.42 * size for corner in range(10)]
    else:
        size *= {"square": 1.25, "diamond": 1.3, "triangle": 1.35}[shape]
        radii = [size] * {"square": 4, "diamond": 4, "triangle": 3}[shape]
    turn = math.pi / 4 if shape == "square" else 0.0
    angles = [turn + 2 * math.pi * corner / len(radii) for corner in range(len(radii))]
    corners = [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]
    return Markup('<polygon class="dot" points="{}"/>').format(
        " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)
    )
