"""What a run is to a report."""

import math
from pathlib import Path

import pytest

from guidance.report.run import Point, Run


def made(**config: object) -> Run:
    return Run(Path("/runs/a"), {"seed": 0, **config}, {}, "", "", "/runs/a", "/start")


@pytest.mark.parametrize(
    ("config", "guided", "weight"),
    [
        ({"loss.localization": None, "loss.weight": 0.0}, False, 0.0),
        ({"loss.localization": None, "loss.weight": 1.0}, False, 0.0),
        ({"loss.localization._target_": "x", "loss.weight": 0.5}, True, 0.5),
        ({"loss.localization._target_": "x", "loss.weight": 0}, False, 0.0),
    ],
)
def test_a_run_is_guided_by_a_loss_with_a_weight(
    config: dict[str, object], guided: bool, weight: float
) -> None:
    assert (made(**config).guided, made(**config).weight) == (guided, weight)


def test_the_start_is_where_it_was_when_the_run_was_started() -> None:
    assert made(**{"model.checkpoint": None}).start == ""
    assert made().start == ""
    assert made(**{"model.checkpoint": "x/../best.ckpt"}).start == "/start/best.ckpt"
    assert made(**{"model.checkpoint": "/a/best.ckpt"}).start == "/a/best.ckpt"


def test_a_point_has_three_values_on_each_split() -> None:
    run = made()
    point = Point(
        run, 3, 40, {"val/f1_micro": 0.5, "val/epg": 0.4, "val/iou": 0.3, "test/epg": 0.2}, "e.ckpt"
    )
    assert point.values() == [0.5, 0.4, 0.3]
    assert math.isnan(point.values("test")[0])
    assert point.values("test")[1] == 0.2
    assert point.path == Path("/runs/a/pareto/e.ckpt")
