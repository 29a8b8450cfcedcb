"""Box plots of localization scores: method by layer by setting, one panel per model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from guidance.figures.writing import write_figure

_COLOURS = ("#60a5fa", "#fbbf24", "#f87171", "#34d399", "#c084fc", "#94a3b8")
_WIDTH = 0.8  # of all boxes of one method, where the next one begins at 1


@dataclass(frozen=True)
class BoxGroup:
    """The scores behind one box.

    Attributes:
        model: Names the panel.
        method: Names the place on the axis; with its setting, if it has one.
        layer: Names the colour.
        scores: In [0, 1]; at least one.
    """

    model: str
    method: str
    layer: str
    scores: Sequence[float]


def draw_box_plots(path: str | Path, groups: Sequence[BoxGroup], chance: float, title: str = "") -> None:
    """Draw distributions of scores: quartiles and median as boxes, whiskers from 5 % to 95 %.

    Args:
        path: The PNG to write.
        groups: In the order in which panels, methods and layers are to appear; a method that a model does not
            have leaves its place empty, so that panels can be compared.
        chance: The score of a map that knows nothing, drawn as a line.
        title: Stands above everything.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not groups:
        raise ValueError("box plots need at least one group of scores")
    models, methods, layers = (
        list(dict.fromkeys(getattr(group, name) for group in groups)) for name in ("model", "method", "layer")
    )
    width = max(5.0, 1.6 + len(methods) * (0.35 + 0.22 * len(layers)))
    figure = Figure(figsize=(width, 0.9 + 2.5 * len(models)), layout="constrained")
    panels = figure.subplots(len(models), 1, squeeze=False, sharex=True)[:, 0]
    for axes, model in zip(panels, models, strict=True):
        _draw_panel(axes, [group for group in groups if group.model == model], methods, layers, chance)
        axes.set_title(model, fontsize=10, loc="left")
        axes.set_ylabel("score (%)")
    panels[-1].set_xticks(range(len(methods)), [_wrapped(method) for method in methods], fontsize=8)
    patches: list[Patch] = [
        Patch(facecolor=_colour(layers, layer), edgecolor="#1f2937", linewidth=0.7, label=layer)
        for layer in layers
    ]
    figure.legend(handles=patches, loc="outside upper right", ncols=len(layers), frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    write_figure(figure, path)


def _draw_panel(
    axes: Axes, groups: Sequence[BoxGroup], methods: Sequence[str], layers: Sequence[str], chance: float
) -> None:
    step = _WIDTH / len(layers)
    for group in groups:
        place = methods.index(group.method) + (layers.index(group.layer) - (len(layers) - 1) / 2) * step
        axes.boxplot(
            [[100 * score for score in group.scores]],
            positions=[place],
            widths=0.85 * step,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": _colour(layers, group.layer), "edgecolor": "#1f2937", "linewidth": 0.7},
            medianprops={"color": "#1f2937", "linewidth": 1.4},
            whiskerprops={"color": "#1f2937", "linewidth": 0.7},
            capprops={"color": "#1f2937", "linewidth": 0.7},
        )
    for k in set(range(len(methods))) - {methods.index(group.method) for group in groups}:
        axes.text(k, 50, "does not\nfit", ha="center", va="center", fontsize=7, color="#9ca3af")
    for k in range(1, len(methods)):
        axes.axvline(k - 0.5, color="#e5e7eb", linewidth=0.8, zorder=0)
    axes.axhline(100 * chance, color="#374151", linewidth=1, linestyle="--", zorder=1)
    axes.annotate(
        "chance",
        (1, 100 * chance),
        (-2, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=7,
        color="#374151",
    )
    axes.set(xlim=(-0.5, len(methods) - 0.5), ylim=(-2, 102), yticks=range(0, 101, 25))
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(layers: Sequence[str], layer: str) -> str:
    return _COLOURS[layers.index(layer) % len(_COLOURS)]


def _wrapped(label: str) -> str:
    """Return a method and its setting in short lines."""
    method, _, setting = label.partition(" ")
    return "\n".join([*method.split("_"), *setting.split(", ")]).strip()
