"""Curves are drawn."""

import math
from pathlib import Path

import pytest

from guidance.figures.curves import CurveLine, CurvePanel, draw_curves
from tests.figures.drawn import names, size


def test_curves(tmp_path: Path) -> None:
    line = CurveLine("ixg", [1.0, 0.5, 0.2], [0.1, 0.1, 0.0], level=0.3)
    control = CurveLine("random", [1.0, 0.9, math.nan], [0.0, 0.1, 0.1], control=True)
    one = [CurvePanel("model", "deletion", [line, control])]
    draw_curves(tmp_path / "numbers.png", one, [0, 50, 100], "pixels", "probability", "title")
    four = [CurvePanel(row, column, [line]) for row in ("a", "b") for column in ("x", "y")]
    draw_curves(tmp_path / "named.png", four[:3], ["trained", "head", "final"], "stage", "similarity")
    assert names(tmp_path) == ["named.png", "numbers.png"]
    assert size(tmp_path / "named.png")[0] > size(tmp_path / "numbers.png")[0]
    with pytest.raises(ValueError, match="no curves"):
        draw_curves(tmp_path / "none.png", [], [0], "", "")
