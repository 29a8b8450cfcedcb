"""Bars are drawn."""

import math
from pathlib import Path

import pytest

from guidance.figures.bars import Bar, draw_bars
from tests.figures.drawn import names, size


def test_bars(tmp_path: Path) -> None:
    bars = [
        Bar(row, "EPG", place, group, 0.5, 0.1, chance)
        for row in ("a", "b")
        for place in ("ixg at input", "gradcam at final")
        for group, chance in (("all", 0.2), ("small", math.nan))
    ]
    draw_bars(tmp_path / "two.png", bars, "title")
    draw_bars(tmp_path / "one.png", bars[:1])
    assert names(tmp_path) == ["one.png", "two.png"]
    assert size(tmp_path / "two.png")[0] > size(tmp_path / "one.png")[0]
    with pytest.raises(ValueError, match="no scores"):
        draw_bars(tmp_path / "none.png", [])
