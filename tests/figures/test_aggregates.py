"""AggAtt drawn: colour scale, empty bins, sizes."""

import math
from pathlib import Path

import pytest
import torch

from guidance.figures.aggregates import AggregateRow, draw_aggregates, shared_limit
from tests.figures.drawn import names, size


def test_the_colour_scale_is_shared_by_all_bins() -> None:
    means = torch.zeros(6, 10, 100)
    means[0] = torch.arange(1000).reshape(10, 100)
    means[1] = torch.nan
    means[2, 0, 0] = 1e9  # one of 5000 values
    expected = torch.cat([means[0].flatten(), means[2:].flatten()]).double().quantile(0.995)
    assert shared_limit(means) == pytest.approx(float(expected))
    few = torch.zeros(6, 100, 100)
    few[3, 0, 0] = 5
    assert shared_limit(few) == 5
    assert shared_limit(torch.zeros(6, 2, 2)) == 1
    assert shared_limit(torch.full((6, 2, 2), torch.nan)) == 1


def test_draw(tmp_path: Path) -> None:
    means = torch.rand(6, 8, 8)
    means[1] = torch.nan
    row = AggregateRow(
        "smoothed_ixg kernel_size=9", means, [1, 0, 4, 4, 3, 1], [0.9, math.nan, 0.7, 0.6, 0, 0]
    )
    draw_aggregates(tmp_path / "one.png", [row], 2)
    draw_aggregates(tmp_path / "two.png", [row, row], 2, cell=3, title="two")
    assert names(tmp_path) == ["one.png", "two.png"]
    assert size(tmp_path / "two.png")[0] > size(tmp_path / "one.png")[0]
    with pytest.raises(ValueError, match="no maps"):
        draw_aggregates(tmp_path / "none.png", [], 2)
