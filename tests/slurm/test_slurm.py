"""A sweep as a job array and jobs of two ranks, on a SLURM of this machine."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.commands import command
from tests.nursery import environment
from tests.tiny import OVERRIDES

HERE = Path(__file__).parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
TINY = [
    *(o for o in OVERRIDES if "max_epochs" not in o and "num_images" not in o),
    "trainer.max_epochs=1",
    "callbacks.gallery.num_images=0",
    "test_front=false",
    "baseline=shared",
    "baseline.changes.trainer.max_epochs=1",
]
LAUNCHER = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=test", "hydra.launcher.timeout_min=60"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which commands reach a SLURM of one node with two cores."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons have to be started as root")
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two ranks need two cores")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([HERE / "start.sh", folder], capture_output=True, text=True, check=False)
    if started.returncode:
        subprocess.run([HERE / "stop.sh", folder], check=False, capture_output=True)
        pytest.skip(f"SLURM cannot be started here: {started.stderr.strip()}")
    yield environment() | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([HERE / "stop.sh", folder], check=False, capture_output=True)


def sweep(folder: Path, slurm: dict[str, str], *arguments: str) -> list[Path]:
    """Run a sweep on SLURM; return its jobs' folders."""
    ended = subprocess.run(
        command("train.py", "-m", *TINY, *LAUNCHER, *arguments, "hydra.sweep.dir=sweep"),
        cwd=folder,
        env=slurm,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return sorted(path.parent for path in (folder / "sweep").glob("*/results.json"))


def test_a_job_array_shares_a_baseline(slurm: dict[str, str], tmp_path: Path) -> None:
    jobs = sweep(tmp_path, slurm, "loss.weight=1,2", "hydra.launcher.cpus_per_task=1")
    assert [job.name.partition("-")[0] for job in jobs] == ["000", "001"]
    assert len(list((tmp_path / "outputs" / "baselines").glob("*/results.json"))) == 1
    logs = " ".join(path.read_text() for path in (tmp_path / "sweep").glob("*/train.log"))
    assert logs.count("baseline: training") == 1


def test_two_ranks_are_one_job(slurm: dict[str, str], tmp_path: Path) -> None:
    (two,) = sweep(
        tmp_path,
        slurm,
        "trainer=ddp_cpu",
        "hydra.launcher.tasks_per_node=2",
        "hydra.launcher.cpus_per_task=1",
    )
    content = torch.load(two / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 5, "40 images in global batches of 8"
    assert len(list((tmp_path / "outputs" / "baselines").glob("*/results.json"))) == 1


def test_a_batch_script_is_one_run_and_goes_on(slurm: dict[str, str], tmp_path: Path) -> None:
    for epochs in (1, 2):
        training = [
            *(option for option in TINY if "max_epochs" not in option and "baseline" not in option),
            *(f"trainer.max_epochs={epochs}", "trainer=ddp_cpu", "trainer.devices=2"),
            *("hydra.run.dir=one", "ckpt_path=last"),
        ]
        script = tmp_path / "run.sbatch"
        script.write_text(
            "#!/bin/bash\n#SBATCH --nodes=1 --ntasks-per-node=2 --cpus-per-task=1 --time=10:00\n"
            f"srun {shlex.join(command('train.py', *training))}\n"
        )
        ended = subprocess.run(
            ["sbatch", "--wait", "--output=job.log", script],
            cwd=tmp_path,
            env=slurm,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert ended.returncode == 0, (tmp_path / "job.log").read_text()
    content = torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 10, "twice 40 images in global batches of 8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.log", "one", "run.sbatch"]


def wait_for_epochs(folder: Path, count: int) -> None:
    """Wait until a run has validated so many epochs."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        for path in folder.rglob("metrics.csv"):
            if len(path.read_text().splitlines()) > count:
                return
        time.sleep(0.2)
    raise AssertionError("it did not begin")


def signal_step(slurm: dict[str, str], name: str) -> None:
    """Send a signal to the one running job, as SLURM does before a job's time is up."""
    listed = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], env=slurm, capture_output=True, text=True
    )
    (job,) = listed.stdout.split()
    subprocess.run(["scancel", f"--signal={name}", job], env=slurm, check=True)


LONG = [option for option in TINY if "baseline" not in option and "max_epochs" not in option]


def test_two_ranks_that_are_told_of_the_end_save_and_go_on(slurm: dict[str, str], tmp_path: Path) -> None:
    run = ["train.py", *LONG, "trainer.max_epochs=40", "hydra.run.dir=run", "ckpt_path=last"]
    started = [
        "srun",
        "--nodes=1",
        "--ntasks-per-node=2",
        "--kill-on-bad-exit=0",
        *command(*run, "trainer=ddp_cpu"),
    ]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(started, cwd=tmp_path, env=slurm, stdout=output, stderr=output)
        wait_for_epochs(tmp_path, 2)
        signal_step(slurm, "USR1")
        assert process.wait(60) == 138, (tmp_path / "output.txt").read_text()
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    said = (tmp_path / "output.txt").read_text()
    assert f"stopped by SIGUSR1: step {last['global_step']} is saved in" in said
    assert said.count("stopped by SIGUSR1") == 1, "rank 0 speaks for both"
    assert not list(tmp_path.rglob("hpc_ckpt*")), (
        "Lightning's own would be continued by the next run of any kind"
    )
    subprocess.run(started, cwd=tmp_path, env=slurm, check=True, capture_output=True, timeout=400)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 200


def test_a_job_of_submitit_saves_before_it_is_put_back_into_the_queue(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(
            "train.py",
            "-m",
            *LONG,
            "trainer.max_epochs=40",
            "loss.weight=1",
            *LAUNCHER,
            "hydra.sweep.dir=sweep",
        ),
        cwd=tmp_path,
        env=slurm,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_epochs(tmp_path, 2)
    signal_step(slurm, "USR2")
    (folder,) = (path.parent for path in tmp_path.glob("sweep/*/metrics.csv"))
    deadline = time.monotonic() + 60
    while "this job is preempted" not in logs(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < last["global_step"] < 200
    assert "Requeued job" in logs(tmp_path)
    assert process.wait(900) == 0
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 200
    assert (folder / "results.json").is_file()


def logs(folder: Path) -> str:
    """Return what submitit's jobs wrote."""
    return " ".join(path.read_text() for path in folder.glob("sweep/.submitit/*/*log.*"))
