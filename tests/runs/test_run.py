"""A whole training and its evaluation: what is written, and that it agrees with itself."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from omegaconf import OmegaConf

from guidance.runs.run import train
from tests.commands import run_command
from tests.tiny import OVERRIDES, results, tiny_config

KEYS = ("f1_micro", "f1_macro", "map", "epg", "iou", "iou_at_0.5", "iou_threshold", "classification_loss")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "baseline"
    run_command("train.py", *OVERRIDES, "loss=none", f"hydra.run.dir={folder}", cwd=folder.parent)
    return folder


@pytest.fixture(scope="module")
def guided(baseline: Path) -> Path:
    folder = baseline.parent / "guided"
    start = baseline / "checkpoints" / "best.ckpt"
    run_command(
        "train.py",
        *OVERRIDES,
        "loss.weight=1",
        f"model.checkpoint={start}",
        f"hydra.run.dir={folder}",
        cwd=folder.parent,
    )
    return folder


def test_everything_is_written(guided: Path) -> None:
    for name in (
        "config.yaml",
        "metrics.csv",
        "results.json",
        "before.json",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "pareto/front.json",
        "pareto/front.png",
        "gallery/before_after.png",
    ):
        assert (guided / name).stat().st_size > 0, name
    assert not list(guided.rglob("*.tmp"))


def test_results_are_flat_and_complete(guided: Path, baseline: Path) -> None:
    content = results(guided)
    for split in ("val", "test"):
        for key in KEYS[:-1]:
            for prefix in ("", "before/"):
                assert 0 <= content[f"{prefix}{split}/{key}"] <= 1
        assert f"{split}/epg/disk" in content
    assert content["seed"] == 0
    assert content["versions"]["torch"] == torch.__version__.split("+")[0]
    assert "git_commit" in content
    assert "before/val/epg" not in results(baseline)
    assert results(baseline)["val/epg"] > 0, "a baseline has an EPG like any other"


def test_before_is_the_baseline_s_best_epoch(guided: Path, baseline: Path) -> None:
    with (baseline / "metrics.csv").open() as file:
        f1 = [float(row["val/f1_micro"]) for row in csv.DictReader(file) if row["val/f1_micro"]]
    assert results(guided)["before/val/f1_micro"] == pytest.approx(max(f1), abs=1e-6)


def test_config_is_resolved_and_in_the_checkpoint(guided: Path) -> None:
    text = (guided / "config.yaml").read_text()
    assert "${" not in text
    checkpoint = torch.load(guided / "checkpoints" / "last.ckpt", weights_only=True)
    own = OmegaConf.to_container(OmegaConf.create(checkpoint["guidance"]["config"]), resolve=True)
    assert own == OmegaConf.to_container(OmegaConf.load(guided / "config.yaml"))


def test_front_is_evaluated_on_test(guided: Path) -> None:
    content = json.loads((guided / "pareto" / "front.json").read_text())
    assert content["front"]
    for point in content["front"]:
        assert (guided / "pareto" / point["checkpoint"]).is_file()
        assert 0 <= point["test"]["test/epg"] <= 1
    last = results(guided)
    of_last = [p for p in content["front"] if p["epoch"] == 1]
    for point in of_last:
        assert point["test"]["test/epg"] == pytest.approx(last["test/epg"], abs=1e-9)


def evaluated(folder: Path, *arguments: str) -> dict[str, Any]:
    run_command("evaluate.py", *arguments, f"hydra.run.dir={folder}", cwd=folder.parent)
    return results(folder)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_needs_only_the_checkpoint(guided: Path, tmp_path: Path, split: str) -> None:
    found = evaluated(tmp_path / "e", f"ckpt_path={guided}/checkpoints/last.ckpt", f"split={split}")
    expected = results(guided)
    for key in KEYS[:-1]:
        assert found[f"{split}/{key}"] == pytest.approx(expected[f"{split}/{key}"], abs=1e-9), key
    assert not any(key.startswith({"val": "test", "test": "val"}[split]) for key in found)


def test_evaluate_with_other_parts(guided: Path, tmp_path: Path) -> None:
    checkpoint = f"ckpt_path={guided}/checkpoints/last.ckpt"
    same = evaluated(tmp_path / "a", checkpoint)
    other = evaluated(tmp_path / "b", checkpoint, "attributor=gradcam", "attributor.layer=mid3")
    fewer = evaluated(tmp_path / "c", checkpoint, "data.length.test=5")
    assert other["test/f1_micro"] == same["test/f1_micro"]
    assert other["test/epg"] != same["test/epg"]
    assert fewer["test/epg"] != same["test/epg"]


def test_evaluate_refuses_a_wrong_split(guided: Path, tmp_path: Path) -> None:
    result = run_command(
        "evaluate.py", f"ckpt_path={guided}/checkpoints/last.ckpt", "split=tset", cwd=tmp_path, check=False
    )
    assert result.returncode == 2
    assert "unknown split 'tset'. Did you mean 'test'" in result.stderr


def test_evaluate_refuses_another_model(guided: Path, tmp_path: Path) -> None:
    result = run_command(
        "evaluate.py",
        f"ckpt_path={guided}/checkpoints/last.ckpt",
        "model=resnet18",
        "attributor=ixg",
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    assert "belongs to another model" in result.stderr


def test_run_folder_of_another_run_is_not_overwritten(baseline: Path) -> None:
    front = sorted((baseline / "pareto").glob("*.ckpt"))
    if len(front) < 2:
        front.append(baseline / "pareto" / "epoch=900.ckpt")
        front[-1].write_bytes(front[0].read_bytes())
    result = run_command(
        "train.py", *OVERRIDES, f"hydra.run.dir={baseline}", cwd=baseline.parent, check=False
    )
    assert result.returncode == 2
    assert "of an earlier run" in result.stderr
    assert all(file.is_file() for file in front)


def test_train_from_python(tmp_path: Path) -> None:
    found = train(tiny_config(tmp_path / "api", "trainer.max_epochs=1", "data.annotated_fraction=0.1"))
    assert found["test/f1_micro"] == results(tmp_path / "api")["test/f1_micro"]


@pytest.mark.parametrize("logger", ["wandb", "tensorboard"])
def test_other_loggers_work_offline(tmp_path: Path, logger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    train(tiny_config(tmp_path / "run", f"logger={logger}", "trainer.max_epochs=1"))
    assert (tmp_path / "run" / "metrics.csv").is_file(), "the CSV is always on"
    if logger == "wandb":
        assert wandb.run is None, "the run was not closed"
        assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
        pictures = {path.name for path in (tmp_path / "run" / "wandb").rglob("media/images/**/*.png")}
        assert any("front" in name for name in pictures)
        assert any("gallery" in name for name in pictures)
        assert list((tmp_path / "run" / "wandb").rglob("media/table/**/*.json"))
    else:
        assert list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_sweep_of_losses(tmp_path: Path) -> None:
    run_command(
        "train.py",
        "-m",
        *OVERRIDES,
        "debug=fast",
        "loss=energy,l1",
        f"hydra.sweep.dir={tmp_path}/s",
        cwd=tmp_path,
    )
    jobs = sorted((tmp_path / "s").glob("*-*"))
    targets = [OmegaConf.load(job / "config.yaml").loss.localization._target_ for job in jobs]
    assert targets == ["guidance.losses.EnergyLoss", "guidance.losses.L1Loss"]
    assert results(jobs[0])["val/epg"] != results(jobs[1])["val/epg"]
