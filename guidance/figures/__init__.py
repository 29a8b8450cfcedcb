"""Figures of maps, scores and fronts, one kind per file. All are PNGs, written atomically."""

from guidance.figures.aggregates import AggregateRow, draw_aggregates
from guidance.figures.boxplots import BoxGroup, draw_box_plots
from guidance.figures.explanation import ExplanationCell, ExplanationRow, draw_explanation
from guidance.figures.front import draw_front
from guidance.figures.gallery import GalleryMap, GalleryRow, draw_gallery
from guidance.figures.overlay import overlay, robust_limit
from guidance.figures.panel import show_panel
from guidance.figures.rgba import rgba_explanation
from guidance.figures.writing import write_figure

__all__ = [
    "AggregateRow",
    "BoxGroup",
    "ExplanationCell",
    "ExplanationRow",
    "GalleryMap",
    "GalleryRow",
    "draw_aggregates",
    "draw_box_plots",
    "draw_explanation",
    "draw_front",
    "draw_gallery",
    "overlay",
    "rgba_explanation",
    "robust_limit",
    "show_panel",
    "write_figure",
]
