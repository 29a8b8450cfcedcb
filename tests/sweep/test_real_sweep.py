"""A sweep of real trainings, two at once: killed while the baseline is trained, it ends as if it had not."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.commands import command, run_command
from tests.nursery import environment
from tests.reliability.kill_point import session
from tests.tiny import OVERRIDES

SWEEP = [
    "-m",
    *(o for o in OVERRIDES if "max_epochs" not in o and "num_images" not in o),
    "trainer.max_epochs=1",
    "callbacks.gallery.num_images=0",
    "callbacks.last.every_n_steps=1",
    "test_front=false",
    "baseline=shared",
    "baseline.changes.trainer.max_epochs=3",
    "loss.weight=1,2",
    "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
    "hydra.sweep.dir=sweep",
]

pytestmark = pytest.mark.slow


def weights(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Return the final weights of the baseline and of every job."""
    (baseline,) = folder.glob("outputs/baselines/*/results.json")
    jobs = sorted(folder.glob("sweep/*/results.json"))
    assert len(jobs) == 2
    files = [path.parent / "checkpoints" / "last.ckpt" for path in (baseline, *jobs)]
    return [torch.load(file, weights_only=True)["state_dict"] for file in files]


def test_killed_sweep_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    run_command("train.py", *SWEEP, cwd=whole)
    logs = " ".join(path.read_text() for path in whole.glob("sweep/*/train.log"))
    assert logs.count("baseline: training") == 1

    process = subprocess.Popen(
        command("train.py", *SWEEP),
        cwd=killed,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list(killed.glob("outputs/baselines/*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(killed.glob("outputs/baselines/*/checkpoints/last.ckpt")), "nothing was saved in time"
    assert not list(killed.glob("**/results.json")), "it ended before it could be killed"
    run_command("train.py", *SWEEP, cwd=killed)
    logs = " ".join(path.read_text() for path in killed.glob("sweep/*/train.log"))
    assert logs.count("baseline: continuing") == 1, logs
    for one, other in zip(weights(whole), weights(killed), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)

    again = run_command("train.py", *SWEEP, cwd=killed)
    assert "2 jobs in sweep: 2 finished" in again.stdout


def test_workers_of_a_killed_sweep_save_and_end(tmp_path: Path) -> None:
    long = [*SWEEP, "trainer.max_epochs=2000", "baseline=none", "callbacks.last.every_n_steps=0"]
    process = subprocess.Popen(
        command("train.py", *(option for option in long if not option.startswith("baseline."))),
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 400
    while len(list(tmp_path.glob("sweep/*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    while session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not session(process.pid)
    logs = [path.read_text() for path in tmp_path.glob("sweep/*/train.log")]
    assert len(logs) == 2
    assert not list(tmp_path.rglob("*.tmp"))
