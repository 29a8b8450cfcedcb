"""Figures: maps over their images, box plots of scores, and fronts. All are PNGs, written atomically."""

from guidance.figures.boxplots import BoxGroup, draw_box_plots
from guidance.figures.front import draw_front
from guidance.figures.gallery import GalleryMap, GalleryRow, draw_gallery
from guidance.figures.overlay import overlay, robust_limit
from guidance.figures.writing import write_figure

__all__ = [
    "BoxGroup",
    "GalleryMap",
    "GalleryRow",
    "draw_box_plots",
    "draw_front",
    "draw_gallery",
    "overlay",
    "robust_limit",
    "write_figure",
]
