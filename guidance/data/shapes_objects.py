"""The objects of the embedded data set: what each class looks like and where the objects of a scene lie."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Owners = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]
Pattern = Callable[[Floats, Floats], Mask]

NOBODY = -1
"""The owner of a pixel that shows no object."""

VISIBLE = 0.4
"""The part of its pixels that every object keeps visible."""

DIAMETER = (0.25, 0.44)
"""Range of an object's diameter, as a part of the image's width."""

_ATTEMPTS = 20


def object_masks(owners: Owners, count: int) -> Mask:
    """Return the visible pixels of each of the first ``count`` objects, bool [count, S, S]."""
    masks: Mask = owners == np.arange(count, dtype=np.int8)[:, None, None]
    return masks


def mask_boxes(masks: Mask) -> Integers:
    """Return the extent of each mask, none of them empty, as half-open xyxy boxes.

    Args:
        masks: bool [M, H, W].

    Returns:
        int64 [M, 4].
    """
    height, width = masks.shape[1:]
    columns = np.logical_or.reduce(masks, axis=1)
    rows = np.logical_or.reduce(masks, axis=2)
    return np.stack(
        [
            columns.argmax(axis=1),
            rows.argmax(axis=1),
            width - columns[:, ::-1].argmax(axis=1),
            height - rows[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    ).astype(np.int64)


def _star(u: Floats, v: Floats) -> Mask:
    # Five points in polar form: the radius falls linearly from each tip to the notches beside it.
    from_tip = np.abs((np.arctan2(u, -v) / (2 * np.pi / 5) + 0.5) % 1 - 0.5) * 2
    return np.hypot(u, v) <= 1.05 - 0.62 * from_tip


# Each class's silhouette, and its texture: where its second colour shows. (u, v) are the object's own
# coordinates, its extent is [-1, 1], v points down.
SHAPES: dict[str, tuple[Pattern, Pattern]] = {
    "disk": (lambda u, v: u * u + v * v <= 1, lambda u, v: (v * 1.75) % 1 < 0.5),
    "square": (
        lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.82,
        lambda u, v: ((u * 1.22) % 1 < 0.5) ^ ((v * 1.22) % 1 < 0.5),
    ),
    "triangle": (
        lambda u, v: (v <= 0.75) & (np.abs(u) <= (v + 1) * 0.57),
        lambda u, v: np.hypot((u * 1.7 + 0.5) % 1 - 0.5, (v * 1.7 - 0.3) % 1 - 0.5) < 0.32,
    ),
    "ring": (
        lambda u, v: np.abs(u * u + v * v - 0.64) <= 0.36,
        lambda u, v: np.zeros(u.shape, np.bool_),  # one colour
    ),
    "cross": (
        lambda u, v: (np.minimum(np.abs(u), np.abs(v)) <= 0.36) & (np.maximum(np.abs(u), np.abs(v)) <= 1),
        lambda u, v: ((u + v) * 1.4) % 1 < 0.5,
    ),
    "star": (_star, lambda u, v: np.hypot(u, v) < 0.4),
}


def place_objects(rng: np.random.Generator, size: int) -> tuple[Integers, list[Mask], Owners]:
    """Choose the objects' classes and places; later objects cover earlier ones.

    Returns:
        The classes, int64 [M]; the textures, M times bool [S, S]; and the owners, int8 [S, S]: the number of
        the object seen at each pixel, M for the occluder, ``NOBODY`` for neither. An object that finds no
        place is left out.
    """
    count = int(rng.integers(1, 5))
    classes = rng.permutation(len(SHAPES))[: rng.integers(1, count + 1)]
    wanted = [*classes, *rng.choice(classes, count - len(classes))]
    shapes = list(SHAPES.values())
    labels: list[int] = []
    textures: list[Mask] = []
    areas: list[int] = []
    owners = np.full((size, size), NOBODY, np.int8)
    for label in wanted:
        u, v = _own_coordinates(rng, size)
        silhouette, texture = (draw(u, v) for draw in shapes[label])
        for _ in range(_ATTEMPTS):
            window, part = _random_window(rng, size, len(u))
            placed = owners.copy()
            placed[window][silhouette[part]] = len(labels)
            if _all_visible(placed, [*areas, int(silhouette.sum())]):
                full_texture = np.zeros((size, size), np.bool_)
                full_texture[window] = texture[part]
                labels.append(int(label))
                textures.append(full_texture)
                areas.append(int(silhouette.sum()))
                owners = placed
                break
    if rng.random() < 0.5:
        long, short = round(size * rng.uniform(0.3, 0.6)), max(1, round(size * rng.uniform(0.04, 0.09)))
        width, height = (long, short) if rng.random() < 0.5 else (short, long)
        left, top = rng.integers(0, size - width + 1), rng.integers(0, size - height + 1)
        placed = owners.copy()
        placed[top : top + height, left : left + width] = len(labels)
        if _all_visible(placed, areas):
            owners = placed
    return np.array(labels, np.int64), textures, owners


def _own_coordinates(rng: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    """Return (u, v) of each pixel of a random-sized, slightly turned object, float64 [D, D] each."""
    diameter = max(5, round(size * rng.uniform(*DIAMETER)))
    steps = (np.arange(diameter) + 0.5) * 2 / diameter - 1
    angle = rng.uniform(-0.3, 0.3)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * steps + sin * steps[:, None], cos * steps[:, None] - sin * steps


def _random_window(
    rng: np.random.Generator, size: int, diameter: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where an object lands in the image and which part of it does: up to 15 % may lie outside."""
    overhang = int(0.15 * diameter)
    starts = rng.integers(-overhang, size - diameter + overhang + 1, 2)
    top, left = (slice(max(0, int(s)), min(size, int(s) + diameter)) for s in starts)
    own_top, own_left = (slice(max(0, -int(s)), min(diameter, size - int(s))) for s in starts)
    return (top, left), (own_top, own_left)


def _all_visible(owners: Owners, areas: list[int]) -> bool:
    seen = np.bincount((owners + 1).ravel(), minlength=len(areas) + 1)[1 : len(areas) + 1]
    return bool((seen >= VISIBLE * np.array(areas)).all())
