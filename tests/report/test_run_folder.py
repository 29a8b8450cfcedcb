"""Reading run folders: what is there, and what is said of what is not."""

import json
from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.report.run_folder import find_runs, flatten, read_run
from tests.report.run_folders import write_run, write_study


def test_a_run_is_read(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "a",
        [(0.5, 0.3, 0.1), (0.4, 0.2, 0.1), (0.4, 0.4, 0.1)],
        seed=3,
        loss="x.L1Loss",
        weight=0.5,
    )
    run = read_run(folder)
    assert (run.seed, run.weight, run.guided) == (3, 0.5, True)
    assert [point.epoch for point in run.points] == [0, 1, 2]
    assert [point.checkpoint for point in run.points] == ["epoch=000.ckpt", "", "epoch=002.ckpt"]
    assert run.points[0].values("val") == run.points[0].values("test") == [0.5, 0.3, 0.1]
    assert run.points[2].path == folder / "pareto" / "epoch=002.ckpt"
    assert run.command == "python train.py loss=energy 'data.length={train: 4}'"
    assert run.config["attributor.layer"] == "input"
    assert run.commit == "0123456789abcdef"


def test_runs_are_found_however_deep_and_once(tmp_path: Path) -> None:
    write_study(tmp_path / "study")
    runs, unfinished = find_runs(
        [tmp_path, tmp_path / "study" / "energy", tmp_path / "study" / "energy" / "1-0"]
    )
    assert [run.name for run in runs] == [
        "baseline/0",
        "baseline/1",
        "energy/0.1-0",
        "energy/0.1-1",
        "energy/1-0",
        "energy/1-1",
    ]
    assert not unfinished


def test_an_evaluation_is_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [(0.5, 0.3, 0.1)])
    (tmp_path / "evaluated" / ".hydra").mkdir(parents=True)
    (tmp_path / "evaluated" / "results.json").write_text('{"checkpoint": "x"}')
    (tmp_path / "evaluated" / ".hydra" / "hydra.yaml").write_text("hydra: {job: {name: evaluate}}")
    runs, unfinished = find_runs([tmp_path])
    assert len(runs) == 1
    assert not unfinished


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("results.json", None, "results.json is missing: the run is not finished"),
        ("results.json", "{", "results.json is broken"),
        ("results.json", "[]", "results.json is broken"),
        ("config.yaml", None, "config.yaml is missing"),
        ("config.yaml", "a: [", "config.yaml is broken"),
        ("config.yaml", "!!python/object/apply:os.system [echo]", "config.yaml is broken"),
        ("config.yaml", "x: 1", "seed is no number"),
        ("pareto/front.json", None, "front.json is missing"),
        ("pareto/front.json", "{}", "not one of this project's"),
        ("pareto/front.json", '{"front": [3], "dominated": []}', "not one of this project's"),
        ("pareto/front.json", '{"front": [], "dominated": []}', "no epoch in which"),
    ],
)
def test_a_broken_run_is_unfinished_not_fatal(
    tmp_path: Path, file: str, content: str | None, said: str
) -> None:
    write_run(tmp_path / "good", [(0.5, 0.3, 0.1)])
    folder = write_run(tmp_path / "bad", [(0.5, 0.3, 0.1)])
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    runs, unfinished = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["good"]
    assert [run.folder for run in unfinished] == [folder]
    assert said in unfinished[0].reason


def test_a_run_killed_at_once_is_unfinished(tmp_path: Path) -> None:
    write_run(tmp_path / "good", [(0.5, 0.3, 0.1)])
    (tmp_path / "killed" / ".hydra").mkdir(parents=True)
    (tmp_path / "killed" / ".hydra" / "hydra.yaml").write_text("hydra: {job: {name: train}}")
    assert "config.yaml is missing" in find_runs([tmp_path])[1][0].reason


def test_an_empty_metrics_csv_only_means_no_curves(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [(0.5, 0.3, 0.1)])
    (folder / "metrics.csv").write_text("")
    assert read_run(folder).curves == []


def test_a_checkpoint_outside_the_run_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [(0.5, 0.3, 0.1)])
    content = json.loads((folder / "pareto" / "front.json").read_text())
    content["front"][0]["checkpoint"] = "../../elsewhere.ckpt"
    (folder / "pareto" / "front.json").write_text(json.dumps(content))
    write_run(tmp_path / "b", [(0.5, 0.3, 0.1)])
    assert "is not in the run's folder" in find_runs([tmp_path])[1][0].reason


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no run in"):
        find_runs([tmp_path])


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1, 2]}) == {"a.b": 1, "d": [1, 2]}


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("config.yaml", "seed: 0", "seed: .nan", "config.yaml: seed is no number"),
        ("config.yaml", "seed: 0", "seed: .inf", "config.yaml: seed is no number"),
        ("pareto/front.json", '"epoch": 0', '"epoch": -1', "epoch -1, step 10 cannot be counted"),
        ("pareto/front.json", '"epoch": 0', '"epoch": "0"', "epoch '0', step 10 cannot be counted"),
        ("pareto/front.json", '"val/epg": 0.3', '"val/epg": 1e999', "it is not over"),
    ],
)
def test_numbers_that_cannot_be_counted(tmp_path: Path, file: str, old: str, new: str, reason: str) -> None:
    folder = write_run(tmp_path / "a", [(0.5, 0.3, 0.1)])
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    runs, unfinished = find_runs([tmp_path])
    assert runs == []
    assert reason in unfinished[0].reason
