"""Sizes of objects by the areas of their boxes."""

import torch

from guidance.data import Batch
from guidance.metrics.object_size import MEDIUM, SIZES, SMALL, pair_sizes


def test_bounds_in_a_squashed_image() -> None:
    assert round(SMALL * 224**2) == 167
    assert round(MEDIUM * 224**2) == 1505


def test_sizes() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    # In 100 x 100 pixels objects are small up to 33 pixels, and large from 300.
    boxes = torch.tensor(
        [[0, 0, 3, 11], [0, 0, 17, 2], [0, 0, 13, 23], [5, 5, 15, 35], [0, 0, 5, 5], [0, 0, 90, 90]]
    )
    batch = Batch(
        images=torch.zeros(2, 3, 100, 100, dtype=torch.uint8),
        labels=torch.ones(2, 5, dtype=torch.bool),
        boxes=boxes,
        box_images=torch.tensor([0, 0, 0, 0, 1, 1]),
        box_classes=torch.tensor([0, 1, 2, 3, 0, 0]),
        runs=torch.zeros(0, 2, dtype=torch.int64),
        run_images=none,
        run_classes=none,
        annotated=torch.ones(2, dtype=torch.bool),
        outside=torch.zeros(2, dtype=torch.bool),
        groups=torch.full((2,), -1),
        indices=torch.arange(2),
    )
    images, classes = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 3, 0, 4])
    sizes = pair_sizes(batch, images, classes).tolist()
    assert [SIZES[size] for size in sizes[:-1]] == ["small", "medium", "medium", "large", "mixed"]
    assert sizes[-1] == -1  # no box of this class
