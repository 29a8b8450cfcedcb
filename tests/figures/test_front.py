from pathlib import Path

import pytest
import torch

from guidance.figures import draw_front
from guidance.pareto import pareto_front
from tests.figures.drawn import names, size

METRICS = ("val/f1_micro", "val/epg", "val/iou")


@pytest.mark.parametrize("count", [0, 1, 40])
def test_front_of_few_and_many_points(count: int, tmp_path: Path) -> None:
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(2))
    labels = [str(i) for i in range(count)]
    draw_front(tmp_path / "a.png", points, pareto_front(points), METRICS, labels, baseline=[0.8, 0.47, 0.01])
    size(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png"]


def test_front_with_equal_and_nan_points_in_two_metrics(tmp_path: Path) -> None:
    points = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.4, torch.nan], [0.6, 0.2]])
    draw_front(tmp_path / "a.png", points, pareto_front(points), METRICS[:2], ["0", "1", "2", "3"])
    size(tmp_path / "a.png")


def test_front_refuses_sizes_that_do_not_fit(tmp_path: Path) -> None:
    points, front = torch.rand(4, 3), torch.ones(4, dtype=torch.bool)
    for wrong in (
        (points, front, METRICS[:2]),
        (points, front[:3], METRICS),
        (points[:, :1], front, METRICS[:1]),
        (points, front, METRICS, ["0"]),
        (points, front, METRICS, None, [0.5]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            draw_front(tmp_path / "a.png", *wrong)
    assert names(tmp_path) == []
