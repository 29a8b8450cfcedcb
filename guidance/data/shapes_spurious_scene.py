"""One scene of the embedded twin of Waterbirds: a single object on a background that fills the image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guidance.data.shapes_objects import DIAMETER, SHAPES, Floats, Mask

OBJECTS = ("disk", "star")
BACKGROUNDS = ("land", "water")

_GREEN = np.array([112.0, 126.0, 70.0])
_BLUE = np.array([76.0, 112.0, 150.0])

# As faint as the noise: the whole image gives the background away, a small part of it much less. So a network
# learns it before the object, but gains little from what a box shows of it beside the object.
_CONTRAST = 12.0


@dataclass(frozen=True)
class SpuriousScene:
    """A drawn image and where its object is.

    Attributes:
        image: RGB, uint8 [3, S, S].
        mask: The object's pixels, bool [S, S].
    """

    image: npt.NDArray[np.uint8]
    mask: Mask


def draw_spurious_scene(rng: np.random.Generator, size: int, shape: int, background: int) -> SpuriousScene:
    """Draw one scene.

    The object's two colours, its place, size and angle are drawn in the same way for both shapes and both
    backgrounds: only its silhouette and texture tell its class.

    Args:
        rng: The only source of randomness.
        size: S, width and height in pixels.
        shape: Position in :data:`OBJECTS`.
        background: Position in :data:`BACKGROUNDS`.
    """
    diameter = round(size * rng.uniform(*DIAMETER))
    top, left = rng.integers(0, size - diameter + 1, 2)
    u, v = _turned(diameter, rng.uniform(0, 2 * np.pi))
    colours = np.stack([rng.uniform(20, 105, 3), rng.uniform(145, 235, 3)])[rng.permutation(2)]
    silhouette, texture = (draw(u, v) for draw in SHAPES[OBJECTS[shape]])

    canvas = _draw_background(rng, size, background)
    window = canvas[top : top + diameter, left : left + diameter]
    window[silhouette] = colours[texture[silhouette].astype(np.int64)]
    canvas += rng.integers(-9, 10, canvas.shape)
    mask = np.zeros((size, size), np.bool_)
    mask[top : top + diameter, left : left + diameter] = silhouette
    return SpuriousScene(np.ascontiguousarray(canvas.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)), mask)


def _turned(diameter: int, angle: float) -> tuple[Floats, Floats]:
    """Return the object's own coordinates (u, v) at each of its pixels, float64 [D, D] each."""
    steps = (np.arange(diameter) + 0.5) * 2 / diameter - 1
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * steps + sin * steps[:, None], cos * steps[:, None] - sin * steps


def _draw_background(rng: np.random.Generator, size: int, background: int) -> Floats:
    """Draw upright blades of grass or lying waves, float64 [S, S, 3]; grass is often greener, water bluer."""
    along, across = np.mgrid[0:size, 0:size] / size
    if BACKGROUNDS[background] == "land":
        green, bend = rng.uniform(-0.7, 1), rng.uniform(0.02, 0.06)
    else:
        along, across = across, along
        green, bend = rng.uniform(-1, 0.7), rng.uniform(0.15, 0.3)
    colour = (
        (_GREEN + _BLUE) / 2 + green * (_GREEN - _BLUE) / 2 + rng.uniform(-25, 25) + rng.uniform(-15, 15, 3)
    )
    phases = rng.uniform(0, 2 * np.pi, 3)
    lines = rng.uniform(5, 8) * across + bend * np.sin(4 * np.pi * along + phases[0])
    stripes = np.sin(2 * np.pi * lines + phases[1])
    light = np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * (along + across) + phases[2])
    shade = _CONTRAST * stripes + 14 * light + rng.normal(0, 10, (size, size))
    canvas: Floats = colour + shade[:, :, None]
    return canvas
