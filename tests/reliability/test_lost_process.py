"""One of several processes dies: the others end within a minute and say why."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guidance.command_line import input_error
from tests.commands import command
from tests.nursery import environment
from tests.tiny import OVERRIDES

TWO = [*OVERRIDES, "trainer=ddp_cpu", "trainer.devices=2", "trainer.max_epochs=50", "test_front=false"]
TWO += ["callbacks.gallery.num_images=0"]
ANOTHER = "Error: another process of this run died."


def fault(name: str, rank: int, key: str = "fault", note: Path | None = None) -> list[str]:
    """Return the options of a fault in the third epoch, before step 12."""
    given = {"_target_": f"tests.reliability.faults.{name}", "step": 12, "rank": rank}
    given |= {} if note is None else {"note": note}
    return [f"+callbacks.{key}.{option}={value}" for option, value in given.items()]


def struck(folder: Path, *faults: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run until no process holds the output any more; return also the seconds since the fault."""
    ended = subprocess.run(
        command("train.py", *TWO, *faults, f"hydra.run.dir={folder / 'run'}"),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return ended, time.monotonic() - float((folder / "note").read_text())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a clock that processes share")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others(rank: int, tmp_path: Path) -> None:
    ended, seconds = struck(tmp_path, *fault("KillProcess", rank, note=tmp_path / "note"))
    assert seconds < 60
    assert ended.returncode == (-9 if rank == 0 else 2)
    assert ANOTHER in ended.stderr
    assert "Traceback" not in ended.stderr
    if rank == 1:
        assert f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt" in ended.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a clock that processes share")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_in_one_process_ends_the_others(rank: int, tmp_path: Path) -> None:
    ended, seconds = struck(tmp_path, *fault("Raise", rank, note=tmp_path / "note"))
    assert seconds < 60
    assert ended.returncode in (1, 2)
    assert "ZeroDivisionError: a mistake in one process" in ended.stderr
    assert ANOTHER in ended.stderr
    assert ended.stderr.count("Traceback") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a clock that processes share")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_waits_does_not_outlive_a_killed_one(rank: int, tmp_path: Path) -> None:
    ended, seconds = struck(
        tmp_path,
        *fault("KillProcess", rank, note=tmp_path / "note"),
        *fault("Stuck", 1 - rank, key="stuck"),
    )
    assert seconds < 60
    assert ended.returncode == -9
    if rank == 0:
        assert "Error: the first process of this run died" in ended.stderr
    else:
        assert re.search(r"Child process with PID \d+ terminated with code -9", ended.stdout + ended.stderr)


def test_what_torch_says_of_a_closed_connection_is_explained() -> None:
    message = "[pair.cc:561] Connection closed by peer [127.0.0.1]:21942. This is typically caused by"
    assert str(input_error(RuntimeError(message))).startswith("another process of this run died")
