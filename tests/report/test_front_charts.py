"""The charts of the fronts."""

from pathlib import Path

from guidance.report.front_charts import describe, front_charts, panel_name
from guidance.report.run_folder import find_runs
from guidance.report.study import make_study
from tests.report.run_folders import write_study


def test_fronts_beaten_epochs_and_baselines_are_drawn(tmp_path: Path) -> None:
    study = make_study(*find_runs([write_study(tmp_path)]))
    unguided, energy = study.configurations
    panels = {energy.front[0]}
    for column, chart in enumerate(
        front_charts(study.configurations, {unguided: 7, energy: 0}, "val", panels), start=1
    ):
        series = {one.name: one for one in chart.series}
        assert len(series["Energy"].marks) + len(series["Energy: beaten epochs"].marks) == 12
        for point, mark in zip(energy.front, series["Energy"].marks, strict=True):
            assert (mark.x, mark.y) == (100 * point.values()[0], 100 * point.values()[column])
            assert mark.shows == (panel_name(point) if point in panels else "")
        assert len(series["Energy"].path) == 3, "a staircase over two points"
        assert {(round(mark.x), round(mark.y)) for mark in series["baselines"].marks} == {
            (80, (20, 10)[column - 1]),
            (81, (20, 10)[column - 1]),
        }


def test_on_test_only_the_fronts_are_drawn(tmp_path: Path) -> None:
    study = make_study(*find_runs([write_study(tmp_path)]))
    energy = study.configurations[1]
    del energy.front[0].metrics["test/epg"]
    epg, iou = front_charts(study.configurations, dict.fromkeys(study.configurations, 0), "test", ())
    assert [one.name for one in epg.series] == ["unguided", "Energy", "baselines"]
    assert len(epg.series[1].marks) == 1, "what was not evaluated is left out"
    assert len(iou.series[1].marks) == 2


def test_a_point_says_what_it_is(tmp_path: Path) -> None:
    study = make_study(*find_runs([write_study(tmp_path)]))
    assert describe(study.configurations[1].front[0]).splitlines() == [
        "energy/1-1, epoch 0",
        "seed 1, weight 1",
        "val: F1 80.5, EPG 40.1, IoU 20.0",
        "test: F1 80.5, EPG 40.1, IoU 20.0",
    ]
