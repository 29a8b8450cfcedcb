"""A killed run, continued by the same command, ends bit for bit where the uninterrupted one ends."""

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.runs.run import train
from tests.commands import run_command, start_command
from tests.data.voc_tree import object_xml, write_voc
from tests.tiny import OVERRIDES, composed

RUN = [*OVERRIDES, "trainer.max_epochs=3", "callbacks.last.every_n_steps=2", "test_front=false"]


def final_state(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def assert_same_run(one: Path, other: Path) -> None:
    a, b = final_state(one), final_state(other)
    assert a["global_step"] == b["global_step"] == 15
    for name, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][name]), name
    for k, state in a["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, b["optimizer_states"][0]["state"][k][name])
    assert a["callbacks"].keys() == b["callbacks"].keys()

    def front(folder: Path) -> Any:
        content = json.loads((folder / "pareto" / "front.json").read_text())
        named = sorted(point["checkpoint"] for point in content["front"])
        assert named == sorted(file.name for file in (folder / "pareto").glob("*.ckpt"))
        return content

    assert front(one) == front(other)

    def rows(folder: Path) -> list[dict[str, str]]:
        with (folder / "metrics.csv").open() as file:
            return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]

    assert rows(one) == rows(other)
    assert not list(one.rglob("*.tmp*"))
    assert not list(other.rglob("*.tmp*"))


def start_and_kill(folder: Path, step: int) -> None:
    """Start a run and kill it without warning once its metrics show a step."""
    child = start_command(
        "train.py", *RUN, "trainer.log_every_n_steps=1", f"hydra.run.dir={folder}", cwd=folder.parent
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        metrics = folder / "metrics.csv"
        lines = metrics.read_text().splitlines() if metrics.is_file() else []
        if any(line.split(",")[1].isdigit() and int(line.split(",")[1]) >= step for line in lines[1:]):
            break
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the run ended before it could be killed"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "whole"
    run_command("train.py", *RUN, "trainer.log_every_n_steps=1", f"hydra.run.dir={folder}", cwd=folder.parent)
    return folder


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(7, marks=pytest.mark.slow), 9]
)
def test_killed_at_a_step(uninterrupted: Path, tmp_path: Path, step: int) -> None:
    folder = tmp_path / "killed"
    start_and_kill(folder, step)
    run_command(
        "train.py",
        *RUN,
        "trainer.log_every_n_steps=1",
        f"hydra.run.dir={folder}",
        "ckpt_path=last",
        cwd=tmp_path,
    )
    assert_same_run(uninterrupted, folder)


def test_last_finds_the_newest_run_of_the_same_configuration(uninterrupted: Path, tmp_path: Path) -> None:
    """Without a named folder: `ckpt_path=last` continues where the same command left off."""
    arguments = [*RUN, "trainer.log_every_n_steps=1", "paths.runs_dir=runs"]
    dated = tmp_path / "runs" / "2000-01-01" / "00-00-00"
    other = tmp_path / "runs" / "2000-01-01" / "00-00-01"
    run_command("train.py", *arguments, "seed=5", "debug=fast", f"hydra.run.dir={other}", cwd=tmp_path)
    start_and_kill(dated, 4)
    run_command("train.py", *arguments, "ckpt_path=last", cwd=tmp_path)
    assert_same_run(uninterrupted, dated)
    assert [str(p.parent.name) for p in (tmp_path / "runs").glob("*/*/results.json")].count("00-00-00") == 1
    assert len(list((tmp_path / "runs").glob("*/*"))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.width=16"], "the checkpoint belongs to another model"),
        (["data=voc2007"], "the checkpoint was trained on 6 classes"),
        (["attributor.layer=mid9"], "unknown layer 'mid9'"),
    ],
)
def test_checkpoint_of_another_run_is_refused(
    uninterrupted: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    last = uninterrupted / "checkpoints" / "last.ckpt"
    voc = []
    if options == ["data=voc2007"]:
        write_voc(tmp_path, {"1": [object_xml()]}, {"train": ["1"], "val": ["1"], "test": ["1"]})
        voc = [f"data.root={tmp_path}", "model=bcos_small", "model.width=8"]
    base = [] if voc else OVERRIDES
    with pytest.raises(Exception, match=message):
        train(composed(tmp_path / "run", *base, *options, *voc, f"ckpt_path={last}"))


def test_finished_run_is_not_trained_again(uninterrupted: Path) -> None:
    before = (uninterrupted / "checkpoints" / "last.ckpt").read_bytes()
    run_command(
        "train.py",
        *RUN,
        "trainer.log_every_n_steps=1",
        f"hydra.run.dir={uninterrupted}",
        "ckpt_path=last",
        cwd=uninterrupted.parent,
    )
    assert (uninterrupted / "checkpoints" / "last.ckpt").read_bytes() == before
