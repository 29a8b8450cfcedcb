"""The maps of checkpoints as panels of a page: the same test images for all of them."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from guidance.errors import InputError
from guidance.figures import overlay
from guidance.progress import progress_over
from guidance.randomness import permutation
from guidance.report.checkpoints import Checkpoints, Explained
from guidance.report.page import Picture
from guidance.report.run import Point
from guidance.report.study import Baseline, Study

_PNG_UP_TO = 96  # pixels; larger pictures are smaller as JPEG


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures for checkpoints.

    Attributes:
        headings: Of the rows.
        rows: For each point, the images, the maps of its baseline (if there is one), its own maps.
        problems: What could not be drawn and why, one sentence each.
        first: The point that is shown at first.
    """

    headings: dict[Point, list[str]]
    rows: dict[Point, list[list[Picture]]]
    problems: list[str]
    first: Point | None = None


def draw_maps(study: Study, checkpoints: Checkpoints, images: int, most: int, seed: int) -> Gallery:
    """Explain the same test images by the checkpoints of all fronts, and by the baselines.

    Args:
        study: Whose fronts are shown.
        checkpoints: Explains.
        images: How many images; 0 draws nothing.
        most: How many checkpoints of a front at most; of a larger one, some are drawn by the seed.
        seed: Chooses images, classes and checkpoints.
    """
    guided = [point for one in study.configurations if not one.is_baseline for point in one.front]
    gallery = Gallery({}, {}, [], *drawn(guided, 1, seed))
    if images == 0:
        return gallery
    shown: dict[Point, Baseline | None] = {}
    for configuration in study.configurations:
        for baseline in configuration.baselines:
            if baseline is not None and baseline.point is not None:
                shown[baseline.point] = None
        for point in drawn(configuration.front, most, seed):
            shown[point] = None if configuration.is_baseline else configuration.baseline_of(point.run)
    console = Console(stderr=True)
    explained: dict[Path, list[Explained]] = {}
    with progress_over(shown.items(), "drawing maps", total=len(shown), console=console) as pairs:
        for point, baseline in pairs:
            own = _explained(explained, [point.path], checkpoints, images, seed, gallery.problems)
            before = _explained(explained, _paths(baseline), checkpoints, images, seed, gallery.problems)
            if own:
                gallery.headings[point] = ["Images", *(["Baseline"] if before else []), "This checkpoint"]
                gallery.rows[point] = [
                    [_image(one) for one in own],
                    *([[_map(one) for one in before]] if before else []),
                    [_map(one) for one in own],
                ]
    return gallery


def drawn(points: Sequence[Point], most: int, seed: int) -> list[Point]:
    """Return at most so many of the points, in their order, drawn by a seed."""
    numbers = permutation(len(points), seed, 1).tolist()[:most]
    return [points[number] for number in sorted(numbers)]


def _paths(baseline: Baseline | None) -> list[Path]:
    return [] if baseline is None else baseline.paths


def _explained(
    known: dict[Path, list[Explained]],
    paths: Sequence[Path],
    checkpoints: Checkpoints,
    images: int,
    seed: int,
    problems: list[str],
) -> list[Explained]:
    """Explain by the first of the files that can be read; each only once, and each problem only once."""
    for path in paths:
        if path not in known:
            known[path] = []
            try:
                known[path] = checkpoints.explain(path, images, seed)
            except InputError as error:
                problems.append(f"no maps of {path}: {error}")
        if known[path]:
            return known[path]
    return []


def _image(explained: Explained) -> Picture:
    pixels = explained.image.permute(1, 2, 0).numpy()
    return _picture(pixels, explained, explained.class_name)


def _map(explained: Explained) -> Picture:
    pixels = (255 * overlay(explained.image, explained.attribution)).round().astype(np.uint8)
    energy = "EPG not finite" if math.isnan(explained.energy) else f"EPG {explained.energy:.0%}"
    return _picture(pixels, explained, f"{energy}, p = {explained.probability:.2f}")


def _picture(
    pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", explained: Explained, caption: str
) -> Picture:
    height, width = pixels.shape[:2]
    content = io.BytesIO()
    if max(height, width) <= _PNG_UP_TO:
        Image.fromarray(pixels).save(content, "PNG", optimize=True)
    else:
        Image.fromarray(pixels).save(content, "JPEG", quality=88)
    return Picture(content.getvalue(), (width, height), caption, explained.boxes.tolist())
