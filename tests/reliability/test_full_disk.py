"""A disk that has no room left, in the middle of a run and at its beginning."""

import csv
import logging
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.errors import InputError
from guidance.runs.run import train
from tests.commands import command
from tests.nursery import environment
from tests.tiny import OVERRIDES, results, tiny_config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
FAULT = "+callbacks.fault._target_=tests.reliability.faults.FullDisk"
RUN = ["callbacks.best=null", "test_front=false", "trainer.log_every_n_steps=1"]


def fault(path: Path, step: int = 5) -> list[str]:
    return [FAULT, f"+callbacks.fault.step={step}", f"+callbacks.fault.path='{path}'"]


def last(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a disk that has room."""
    folder = tmp_path_factory.mktemp("disk") / "whole"
    train(tiny_config(folder, *RUN))
    return folder


@pytest.fixture(autouse=True)
def _planted_links_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a link to the full disk stand the first time that it would be replaced."""
    left: set[Path] = set()
    unlink = Path.unlink

    def leave_once(path: Path, missing_ok: bool = False) -> None:
        if path.is_symlink() and path not in left:
            left.add(path)
        else:
            unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", leave_once)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/last.ckpt",
        pytest.param("pareto/epoch=001.ckpt", marks=pytest.mark.slow),
        pytest.param("pareto/front.json", marks=pytest.mark.slow),
        pytest.param("results.json", marks=pytest.mark.slow),
    ],
)
def test_what_the_run_needs_stops_it_and_it_goes_on_later(
    name: str, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device") as raised:
        train(tiny_config(folder, *RUN, *fault(folder / name)))
    assert str(folder / name) in str(raised.value)
    assert f"ckpt_path={folder}/checkpoints/last.ckpt" in caplog.text
    assert last(folder)["global_step"] == (10 if name == "results.json" else 5)
    assert not list(folder.rglob("*.tmp"))
    train(tiny_config(folder, *RUN, f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"))
    for key, value in last(whole)["state_dict"].items():
        assert torch.equal(value, last(folder)["state_dict"][key]), key


@pytest.mark.parametrize(
    "name",
    [
        "pareto/front.png",
        pytest.param("gallery/before_after.png", marks=pytest.mark.slow),
        pytest.param("gallery/before.safetensors", marks=pytest.mark.slow),
        pytest.param("metrics.csv", marks=pytest.mark.slow),
    ],
)
def test_what_can_be_missed_is_missed_with_a_warning(
    name: str, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    (folder / name).parent.mkdir(parents=True)
    if name == "gallery/before.safetensors":  # written before the first step
        (folder / f"{name}.tmp").symlink_to("/dev/full")
        found = train(tiny_config(folder, *RUN))
    else:
        found = train(tiny_config(folder, *RUN, *fault(folder / name, step=2)))
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert sum(f"cannot write {folder / name}" in message for message in warnings) == 1, warnings
    assert found["test/epg"] == results(whole)["test/epg"]
    assert not list(folder.rglob("*.tmp"))


def test_rows_of_metrics_are_written_once_there_is_room(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(tiny_config(folder, *RUN, *fault(folder / "metrics.csv", step=2)))
    with (folder / "metrics.csv").open() as found, (whole / "metrics.csv").open() as expected:
        assert list(csv.DictReader(found)) == list(csv.DictReader(expected))


def limited(folder: Path, size: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose files may not grow above a size."""
    return subprocess.run(
        command("train.py", *OVERRIDES, *options, f"hydra.run.dir={folder}"),
        cwd=folder.parent,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_one_line_where_no_checkpoint_fits(tmp_path: Path) -> None:
    ended = limited(tmp_path / "run", 500_000)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("Error: cannot write ")
    assert "epoch=000.ckpt: File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "run").rglob("*.ckpt*"))


@pytest.mark.slow
def test_one_line_where_no_cache_fits(tmp_path: Path) -> None:
    ended = limited(tmp_path / "run", 50_000, "data.cache=true", f"data.cache_dir={tmp_path / 'cache'}")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("Error: data.cache_dir: cannot write to ")
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "cache").glob("*.npy"))
