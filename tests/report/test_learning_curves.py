"""Learning curves: epochs done, without the evaluations around training."""

from pathlib import Path

from guidance.report.learning_curves import curve, learning_curves
from guidance.report.run_folder import find_runs, read_run
from guidance.report.study import make_study
from tests.report.run_folders import write_run, write_study


def test_the_end_of_an_epoch_stands_at_its_number(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", [(0.5, 0.3, 0.1), (0.6, 0.3, 0.1)]))
    assert curve(run, "val/f1_micro") == [(1.0, 0.5), (2.0, 0.6)]
    assert curve(run, "train/loss") == [(0.5, 0.5), (1.5, 0.5)]
    assert curve(run, "no/such") == []


def test_start_weights_stand_at_0(tmp_path: Path) -> None:
    start = ((0.4, 0.2, 0.1), (0.4, 0.2, 0.1))
    folder = write_run(tmp_path / "a", [(0.5, 0.3, 0.1)], before=start, model__checkpoint="/a")
    lines = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join([lines[0], "0,0,0.4,0.2,0.1,", *lines[1:]]))
    assert curve(read_run(folder), "val/epg") == [(0.0, 0.2), (1.0, 0.3)]


def test_one_line_for_each_run(tmp_path: Path) -> None:
    study = make_study(*find_runs([write_study(tmp_path)]))
    charts = learning_curves(study, dict.fromkeys(study.configurations, 0))
    assert [chart.y_label for chart in charts] == ["F1 on val (%)", "EPG on val (%)", "IoU on val (%)"]
    assert all(len(chart.series) == len(study.runs) for chart in charts)


def test_what_is_infinite_is_not_drawn(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [(0.5, 0.3, 0.1), (0.6, 0.3, 0.1)])
    table = folder / "metrics.csv"
    table.write_text(table.read_text().replace("0.5,0.3,0.1", "inf,0.3,0.1"))
    assert curve(read_run(folder), "val/f1_micro") == [(2.0, 0.6)]
