"""Processes that torchrun or srun starts train as one run, in one folder."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guidance.errors import InputError
from guidance.processes.launcher import check_run_folder, check_tasks, started_together
from tests.nursery import environment
from tests.tiny import OVERRIDES, ROOT, results

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1"}
SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}


@pytest.mark.parametrize("started", [TORCHRUN, SRUN])
def test_processes_started_apart_need_a_named_folder(started: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"several processes.*hydra\.run\.dir=outputs/one"):
        check_run_folder(["trainer=ddp_cpu", "ckpt_path=last"], started)
    check_run_folder(["trainer=ddp_cpu", "hydra.run.dir=outputs/one"], started)
    check_run_folder(["-m", "trainer=ddp_cpu", "seed=0,1"], started)


@pytest.mark.parametrize(
    ("started", "count"),
    [
        ({}, 1),
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "1"}, 1),
        # A batch script without srun, and what Lightning starts by itself.
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, 1),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, 1),
        (TORCHRUN, 2),
        (SRUN, 4),
    ],
)
def test_who_was_started_together(started: dict[str, str], count: int) -> None:
    assert started_together(started) == count
    if count == 1:
        check_run_folder(["trainer=ddp_cpu"], started)


def test_tasks_are_counted_by_nodes() -> None:
    with pytest.raises(InputError, match=r"srun --ntasks=4: .* --nodes=2 --ntasks-per-node=2"):
        check_tasks(SRUN | {"SLURM_STEP_NUM_NODES": "2"})
    for started in ({}, TORCHRUN, SRUN | {"SLURM_NTASKS_PER_NODE": "4"}, {"SLURM_STEP_NUM_TASKS": "1"}):
        check_tasks(started)


def train_command(*launcher: str) -> list[str]:
    """Return a tiny training of two processes, started by torchrun with the launcher's options."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", *launcher, "--rdzv-backend", "c10d"),
        *(
            str(ROOT / "train.py"),
            "trainer=ddp_cpu",
            *OVERRIDES,
            "callbacks.gallery=null",
            "test_front=false",
        ),
    ]


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start two processes on this machine as docs/slurm.md does, on a free port."""
    return subprocess.run(
        [
            *train_command("--nnodes", "1", "--nproc-per-node", "2", "--rdzv-endpoint", "localhost:0"),
            *arguments,
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_torchrun_is_one_run_and_goes_on(tmp_path: Path) -> None:
    refused = torchrun(tmp_path)
    assert refused.returncode
    assert "name the run's folder" in refused.stderr
    assert not list(tmp_path.iterdir())
    for options in (["trainer.max_epochs=1"], ["trainer.max_epochs=2", "ckpt_path=last"]):
        ended = torchrun(tmp_path, *options, "hydra.run.dir=one")
        assert ended.returncode == 0, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    content = torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 10, "twice 40 images in global batches of 8"
    rows = (tmp_path / "one" / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)), "one process writes"
    assert results(tmp_path / "one")["val/f1_micro"] >= 0


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_two_nodes_are_one_run(tmp_path: Path) -> None:
    """Two torchruns on one machine, each with one process, as two machines would start them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    launcher = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-id", "one", "--rdzv-endpoint", endpoint]
    arguments = ["trainer.devices=1", "+trainer.num_nodes=2", "trainer.max_epochs=1", "hydra.run.dir=one"]
    nodes = [
        subprocess.Popen(
            [*train_command(*launcher), *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for node in nodes:
        _, errors = node.communicate(timeout=900)
        assert node.returncode == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    content = torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 5, "40 images in global batches of 8"
