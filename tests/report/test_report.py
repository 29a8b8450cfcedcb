"""The whole command: page, files, select, W&B; names of strangers; wrong input."""

import csv
import json
import re
from pathlib import Path

import pytest
import wandb
import yaml

from guidance.errors import InputError
from guidance.report.__main__ import main
from guidance.report.report import common_folder, evaluated_points, make_report, read_study
from tests.report.page.test_page import _Reader
from tests.report.run_folders import write_run, write_study

EVIL = "<script>alert(1)</script>"


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


def test_names_of_strangers_are_escaped(tmp_path: Path) -> None:
    write_study(tmp_path / EVIL)
    folder = write_run(
        tmp_path / EVIL / "odd",
        [(0.8, 0.5, 0.2)],
        seed=9,
        loss=f"x.{EVIL}Loss",
        weight=1.0,
        optimizer__name=EVIL,
    )
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"loss={EVIL}"]))
    broken = write_run(tmp_path / EVIL / f"broken{EVIL.replace('/', '')}", [(0.8, 0.5, 0.2)])
    (broken / "results.json").unlink()
    make_report([tmp_path], tmp_path / "out", gallery_images=1)
    text = (tmp_path / "out" / "report.html").read_text()
    elements = _Reader(text).elements
    assert sum(tag == "script" for tag, _ in elements) == 1
    assert EVIL not in text
    assert "&lt;script&gt;" in text


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


def test_commands_and_pictures_of_runs_are_there(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a run", [(0.8, 0.5, 0.2)])
    (folder / "gallery").mkdir()
    (folder / "gallery" / "before_after.png").write_bytes(b"")
    make_report([tmp_path], tmp_path / "out", gallery_images=0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'href="../a%20run/gallery/before_after.png"' in page
    assert "python train.py loss=energy &#39;data.length={train: 4}&#39;" in page
    assert "All runs are unguided baselines" in page


def test_what_is_evaluated_are_fronts_choices_and_baselines(tmp_path: Path) -> None:
    study = read_study([write_study(tmp_path)])
    points = evaluated_points(study, 0.01)
    assert len(points) == len(set(points))
    names = {(point.run.name, point.epoch) for point in points}
    assert names == {("baseline/0", 1), ("baseline/1", 1)} | {
        (f"energy/1-{seed}", epoch) for seed in (0, 1) for epoch in (0, 1)
    }


def test_select_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path)
    assert main(["select", str(tmp_path), "--max-f1-drop", "0.01"]) == 0
    assert "energy/1-1/pareto/epoch=000.ckpt" in capsys.readouterr().out
    assert main(["select", str(tmp_path), "--max-f1-drop", "0"]) == 1
    assert "none qualifies" in capsys.readouterr().out


def test_grouping_on_the_command_line(tmp_path: Path) -> None:
    write_study(tmp_path / "runs")
    arguments = [str(tmp_path / "runs"), "--gallery-images", "0", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--group-by", "loss.weight,attributor.layer"]) == 0
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["weights"] for one in content["configurations"]] == [[0.0], [0.1], [1.0]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: RUNS"),
        (["nowhere"], "no folder nowhere"),
        ([".", "--max-f1-drop", "5"], "--max-f1-drop is a fraction from 0 to 1"),
        ([".", "--gallery-images", "-1"], "--gallery-images must be at least 0"),
        ([".", "--group-by", "los"], "Did you mean 'loss'"),
        ([".", "--sorted"], "unrecognized arguments: --sorted (see --help)"),
        (["select", "."], ""),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if said:
        write_study(tmp_path)
    else:
        said = "no run in ."
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("Error: ")
    assert said in error
    assert error.count("\n") == 1


def test_without_a_finished_run_there_is_no_report(tmp_path: Path) -> None:
    (write_run(tmp_path / "a", [(0.5, 0.5, 0.5)]) / "results.json").unlink()
    with pytest.raises(InputError, match=r"no finished run among 1: .*results\.json is missing"):
        read_study([tmp_path])


@pytest.mark.parametrize("arguments", [["--help"], ["select", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "--max-f1-drop PART" in text
    assert "RUNS" in text
    assert max(map(len, text.splitlines())) <= 110


def test_common_folder(tmp_path: Path) -> None:
    assert common_folder([tmp_path / "a" / "b", tmp_path / "a" / "c"]) == tmp_path / "a"
    assert common_folder([tmp_path / "a"]) == tmp_path / "a"


def test_wandb_gets_tables_and_pictures_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_study(tmp_path / "runs")
    output = tmp_path / "out"
    arguments = [str(tmp_path / "runs"), "--gallery-images", "0", "--output", str(output)]
    assert main([*arguments, "--wandb", "study"]) == 0
    assert wandb.run is None, "the run was not closed"
    tables = [json.loads(path.read_text()) for path in output.rglob("media/table/**/*.json")]
    assert sorted(len(table["data"]) for table in tables) == [3, 3], "survivors; configurations and weights"
    assert len(list(output.rglob("media/images/**/*.png"))) == 2
    assert list(output.rglob("media/html/**/*.html"))
