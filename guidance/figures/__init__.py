"""Figures: attribution maps over their images, and fronts. All are PNGs, written atomically."""

from guidance.figures.front import draw_front
from guidance.figures.gallery import GalleryMap, GalleryRow, draw_gallery
from guidance.figures.overlay import overlay, robust_limit
from guidance.figures.writing import write_figure

__all__ = [
    "GalleryMap",
    "GalleryRow",
    "draw_front",
    "draw_gallery",
    "overlay",
    "robust_limit",
    "write_figure",
]
