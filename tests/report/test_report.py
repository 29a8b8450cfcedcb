"""A whole report: of real runs, of unfinished ones, of none."""

import csv
import json
import re
from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.report.__main__ import main
from guidance.report.report import common_folder, evaluated_points, read_study
from tests.report.page.test_page import _Reader
from tests.report.run_folders import write_run, write_study


def test_a_report_of_real_runs(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert main([str(trained), "--output", str(tmp_path / "out"), "--gallery-images", "2"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.json",
        "points.csv",
        "summary.csv",
    }
    page = (tmp_path / "out" / "report.html").read_text()
    elements = _Reader(page).elements
    panels = {a["data-panel"] for _, a in elements if "data-panel" in a}
    shows = {a["data-shows"] for _, a in elements if "data-shows" in a}
    assert panels
    assert shows == panels, "every click shows something, and everything can be shown"
    used = {a["href"] for tag, a in elements if tag == "use"}
    assert used == {f"#{a['id']}" for tag, a in elements if tag == "image"}
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["name"] for one in content["configurations"]] == ["unguided", "Energy"]
    assert "one seed" in content["configurations"][1]["verdict"]
    assert content["configurations"][1]["verdict"].splitlines()[0] in capsys.readouterr().out
    with (tmp_path / "out" / "points.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    after = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert before == after, "a run whose metrics are all there is left alone"


def test_unfinished_runs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "runs")
    killed = write_run(tmp_path / "runs" / "killed", [(0.9, 0.9, 0.9)])
    (killed / "results.json").unlink()
    (killed / "metrics.csv").write_text("")
    assert main([str(tmp_path / "runs"), "--gallery-images", "0"]) == 0
    assert f"unfinished: {killed}: results.json is missing" in capsys.readouterr().out
    page = (tmp_path / "runs" / "report" / "report.html").read_text()
    assert re.search(r"killed</td><td>results\.json is missing", page)
    content = json.loads((tmp_path / "runs" / "report" / "report.json").read_text())
    assert [one["folder"] for one in content["unfinished"]] == [str(killed)]
    assert not any("killed" in run["name"] for run in content["runs"]), "it is in no front"


def test_the_report_s_own_folder_is_no_run(tmp_path: Path) -> None:
    write_study(tmp_path)
    for _ in range(2):
        assert main([str(tmp_path), "--gallery-images", "0"]) == 0
    assert len(read_study([tmp_path]).runs) == 6


def test_what_is_evaluated_are_fronts_choices_and_baselines(tmp_path: Path) -> None:
    study = read_study([write_study(tmp_path)])
    points = evaluated_points(study, 0.01)
    assert len(points) == len(set(points))
    names = {(point.run.name, point.epoch) for point in points}
    assert names == {("baseline/0", 1), ("baseline/1", 1)} | {
        (f"energy/1-{seed}", epoch) for seed in (0, 1) for epoch in (0, 1)
    }


def test_without_a_finished_run_there_is_no_report(tmp_path: Path) -> None:
    (write_run(tmp_path / "a", [(0.5, 0.5, 0.5)]) / "results.json").unlink()
    with pytest.raises(InputError, match=r"no finished run among 1: .*results\.json is missing"):
        read_study([tmp_path])


def test_common_folder(tmp_path: Path) -> None:
    assert common_folder([tmp_path / "a" / "b", tmp_path / "a" / "c"]) == tmp_path / "a"
    assert common_folder([tmp_path / "a"]) == tmp_path / "a"
