from pathlib import Path

import pytest
import torch

from guidance.figures import ExplanationCell, ExplanationRow, draw_explanation
from tests.figures.drawn import names, size

IMAGE = torch.randint(256, (3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
NONE = torch.zeros(0, 4)


def cell(rgba: bool = False) -> ExplanationCell:
    boxes = torch.tensor([[2.0, 3, 20, 30]])
    return ExplanationCell(torch.rand(4, 6), boxes, "p = 0.93", torch.rand(4, 16, 16) if rgba else None)


def test_a_row_for_each_model_and_one_more_for_weights(tmp_path: Path) -> None:
    boxes = torch.tensor([[2.0, 3, 20, 30], [0, 0, 48, 32]])
    plain, weighted = (ExplanationRow("$a", [cell(rgba)] * 2) for rgba in (False, True))
    for name, rows in (("one", [plain]), ("two", [plain, plain]), ("three", [plain, weighted])):
        draw_explanation(tmp_path / f"{name}.png", IMAGE, boxes, ["$dog", ""], ["dog", "$x_"], rows, "a$b")
    one, two, three = (size(tmp_path / f"{name}.png") for name in ("one", "two", "three"))
    assert one[1] == two[1] == three[1]
    assert one[0] < two[0] < three[0]
    assert names(tmp_path) == ["one.png", "three.png", "two.png"]


def test_no_boxes_and_some_classes_without_weights(tmp_path: Path) -> None:
    row = ExplanationRow("", [cell(rgba=True), cell()])
    draw_explanation(tmp_path / "a.png", IMAGE, NONE, [], ["dog", "cat"], [row])
    size(tmp_path / "a.png")


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for classes, rows in ((["dog"], []), (["dog", "cat"], [ExplanationRow("a", [cell()])]), ([], [])):
        with pytest.raises(ValueError, match="an explanation needs rows of cells"):
            draw_explanation(tmp_path / "a.png", IMAGE, NONE, [], classes, rows)
    assert names(tmp_path) == []
