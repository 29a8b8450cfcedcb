"""Pointing game by hand and against a slow version."""

import math

import pytest
import torch

from guidance.metrics.pointing_game import hits_by_chance, pointing_game_hits


def slow_hit(attribution: torch.Tensor, mask: torch.Tensor, tolerance: float) -> bool:
    best, at = 0.0, None
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if attribution[row, column] > best:
                best, at = float(attribution[row, column]), (row, column)
    return at is not None and any(math.dist(at, pixel) <= tolerance for pixel in mask.nonzero().tolist())


@pytest.mark.parametrize("tolerance", [0, 1, 2.5, 4])
def test_a_slow_version_agrees(tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(40, 9, 11, generator=generator)
    masks = torch.zeros(40, 9, 11, dtype=torch.bool)
    for mask in masks[1:]:
        y, x = (int(torch.randint(0, side - 3, (), generator=generator)) for side in (9, 11))
        mask[y : y + 3, x : x + 2] = True
    hits = pointing_game_hits(maps, masks, tolerance)
    assert hits.tolist() == [slow_hit(a, m, tolerance) for a, m in zip(maps, masks, strict=True)]
    assert not hits[0]  # no box
    assert 0 < hits.sum() < 40


def test_chance_is_the_share_of_points_that_hit() -> None:
    masks = torch.zeros(2, 8, 9, dtype=torch.bool)
    masks[0, 2:4, 0:2] = True
    for tolerance in (0, 1.5, 3):
        points = torch.eye(72).view(72, 8, 9)
        expected = pointing_game_hits(points, masks[:1].expand(72, -1, -1), tolerance).double().mean()
        assert hits_by_chance(masks, tolerance).tolist() == pytest.approx([float(expected), 0])


def test_degenerate_maps() -> None:
    masks = torch.ones(4, 6, 6, dtype=torch.bool)
    maps = torch.zeros(4, 3, 3)
    maps[1] = -1  # all against
    maps[2] = 1  # the first of equal maxima
    maps[3, 1, 1] = torch.nan
    assert pointing_game_hits(maps, masks).tolist() == [False, False, True, False]
    masks[2, 0, 0] = False
    assert pointing_game_hits(maps, masks, tolerance=0).tolist() == [False] * 4
    with pytest.raises(ValueError, match="masks must be bool"):
        pointing_game_hits(maps, masks.float())
