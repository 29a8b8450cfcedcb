from pathlib import Path

import pytest

from guidance.figures import BoxGroup, draw_box_plots
from tests.figures.drawn import names, size


def groups(models: int, methods: int, layers: int) -> list[BoxGroup]:
    return [
        BoxGroup(f"model {m}", f"method_{k} kernel_size={k}", f"layer{layer}", [0.1 * k % 1, 0.5, 0.9])
        for m in range(models)
        for k in range(methods)
        for layer in range(layers)
    ]


def test_a_panel_per_model_and_a_place_per_method(tmp_path: Path) -> None:
    draw_box_plots(tmp_path / "one.png", groups(1, 1, 1), 0.25)
    draw_box_plots(tmp_path / "new" / "many.png", groups(2, 12, 3)[:-7], 1 / 9, "GridPG, 3 x 3")
    (height, width), (tall, wide) = size(tmp_path / "one.png"), size(tmp_path / "new" / "many.png")
    assert tall > 1.5 * height
    assert wide > 2 * width
    assert names(tmp_path / "new") == ["many.png"]


def test_more_layers_than_colours_and_equal_scores(tmp_path: Path) -> None:
    draw_box_plots(tmp_path / "a.png", groups(1, 2, 8), 0.25)
    draw_box_plots(tmp_path / "b.png", [BoxGroup("m", "ixg", "input", [1.0])], 0.25)
    size(tmp_path / "a.png")
    size(tmp_path / "b.png")


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_box_plots(tmp_path / "a.png", [], 0.25)
    assert names(tmp_path) == []
