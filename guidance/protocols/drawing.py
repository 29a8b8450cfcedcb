"""Grids drawn from the images that qualify: distinct classes in a grid, no image twice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.errors import InputError
from guidance.protocols.candidates import Candidates
from guidance.randomness import permutation

# Sets these draws apart from others of the same seed.
_IMAGES, _CLASSES, _PLACES = 201, 202, 203


def draw_grids(
    candidates: Candidates, n: int, count: int, seed: int, most_confident: bool, names: Sequence[str]
) -> Tensor:
    """Draw grids of n x n images of distinct classes.

    Every image is used once at most. Classes are drawn at random, as far as the images left let the number
    of grids be reached: a class with few images may then be in fewer grids than one with many. The result
    depends on the candidates and the seed alone.

    Args:
        candidates: The images that qualify.
        n: Cells along each side.
        count: Number of grids G.
        seed: Of all draws.
        most_confident: Use each class's images by falling confidence, instead of in random order.
        names: The class names, for messages.

    Returns:
        Positions in ``candidates``, int64 [G, n * n].

    Raises:
        InputError: If too few images qualify, telling how many there are of each class.
    """
    queues = _queues(candidates, seed, most_confident)
    left = torch.tensor([len(queue) for queue in queues.values()])
    possible = most_grids(left, n)
    if possible < count:
        raise InputError(_too_few(queues, names, n, count, possible))
    classes, drawn = list(queues), []
    for grid in range(count):
        remaining = count - grid
        # A class is in each of the remaining grids at most once. One with an image for every of them loses
        # a place where this grid leaves it out, and there are only so many places to spare.
        plenty = left >= remaining
        spare = int(left.clamp(max=remaining).sum()) - remaining * n * n
        must = max(0, int(plenty.sum()) - spare)
        order = permutation(len(classes), seed, _CLASSES, grid)
        first = order[plenty[order]][:must]
        others = order[(left[order] > 0) & ~torch.isin(order, first)]
        chosen = torch.cat([first, others])[: n * n]
        places = permutation(n * n, seed, _PLACES, grid)
        cells = [queues[classes[k]][len(queues[classes[k]]) - int(left[k])] for k in chosen[places].tolist()]
        left[chosen] -= 1
        drawn.append(cells)
    return torch.tensor(drawn, dtype=torch.int64).reshape(count, n * n)


def most_grids(counts: Tensor, n: int) -> int:
    """Return how many grids of n x n distinct classes can be made of so many images of each class [K]."""
    grids = 0
    while counts.clamp(max=grids + 1).sum() >= (grids + 1) * n * n:
        grids += 1
    return grids


def _queues(candidates: Candidates, seed: int, most_confident: bool) -> dict[int, list[int]]:
    """Return for each class that has any the positions of its candidates, in the order of their use."""
    if most_confident:
        order = candidates.confidences.argsort(descending=True, stable=True)
    else:
        order = permutation(len(candidates.labels), seed, _IMAGES)
    queues: dict[int, list[int]] = {k: [] for k in candidates.labels.unique().tolist()}
    for position in order.tolist():
        queues[int(candidates.labels[position])].append(position)
    return queues


def _too_few(queues: dict[int, list[int]], names: Sequence[str], n: int, count: int, possible: int) -> str:
    counts = sorted(((len(queue), names[k]) for k, queue in queues.items()), key=lambda c: (-c[0], c[1]))
    shown = ", ".join(f"{name} {number}" for number, name in counts[:20])
    more = f" and {len(counts) - 20} classes more" if len(counts) > 20 else ""
    none = len(names) - len(counts)
    more += f"; none of {none} other classes" if none else ""
    remedy = f"set protocol.grids={possible}, or " if possible else ""
    return (
        f"too few images qualify for {count} grids of {n * n} distinct classes; they are enough for "
        f"{possible}. Images that all models classify right and with enough confidence: {shown or 'none'}"
        f"{more}. Remedy: {remedy}a lower protocol.min_confidence, "
        "protocol.rule=most_confident, or more images"
    )
