"""A signal ends a training within seconds, saved where it is; the same command goes on to the same end."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.nursery import Nursery
from tests.reliability.kill_point import KillPoint
from tests.reliability.kills import RUN
from tests.reliability.same import assert_nothing_left, assert_same, assert_whole

HERE = [*RUN, "hydra.run.dir=run"]
"""Six steps; without a signal nothing is saved before step 2."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as started:
        yield started


def step(cwd: Path) -> int:
    content = torch.load(cwd / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    return int(content["global_step"])


def stop_and_go_on(
    nursery: Nursery, folder: Path, command: list[str], stops: list[tuple[KillPoint, int, int | None]]
) -> None:
    """Run a command undisturbed, and stopped again and again.

    Args:
        nursery: Starts it.
        folder: Where both run.
        command: The command.
        stops: Each with the exit status and the step that is saved; None if no more than before.
    """
    whole, stopped = folder / "whole", folder / "stopped"
    for cwd in (whole, stopped):
        cwd.mkdir()
    child = nursery.start(whole, command)
    assert child.wait() == 0, child.output
    pids = []
    for point, status, saved in stops:
        child = nursery.start(stopped, command, point)
        pids.append(child.pid)
        assert child.wait() == status, child.output[-3000:]
        assert not child.left(), f"orphans after {point}: {child.left(0)}"
        assert_whole(stopped)
        if saved is not None:
            assert step(stopped) == saved, point
            assert f"stopped by {signal.Signals(point.signal).name}: step {saved} is saved" in child.output
    child = nursery.start(stopped, command)
    assert child.wait() == 0, child.output[-3000:]
    assert_same(whole, stopped)
    assert_nothing_left(stopped, [*pids, child.pid])


def test_one_process(nursery: Nursery, tmp_path: Path) -> None:
    stops = [
        (KillPoint("write", "*/metrics.csv*", 1, signal=signal.SIGTERM), 143, None),
        (KillPoint("train", number=1, signal=signal.SIGTERM), 143, 1),
        (KillPoint("replace", "*/last.ckpt", 1, signal=signal.SIGTERM), 143, 2),
        (KillPoint("val", number=1, signal=signal.SIGUSR1), 138, 3),
        (KillPoint("optimizer", number=2, signal=signal.SIGINT), 130, 5),
        (KillPoint("test", number=1, signal=signal.SIGTERM), 143, None),
    ]
    stop_and_go_on(nursery, tmp_path, HERE, stops)


def test_two_processes_of_which_one_is_asked(nursery: Nursery, tmp_path: Path) -> None:
    stops = [
        (KillPoint("train", number=1, signal=signal.SIGTERM), 143, 1),
        (KillPoint("train", number=1, signal=signal.SIGUSR1, others=True), 138, 2),
        (KillPoint("train", number=1), -signal.SIGKILL, None),
        (KillPoint("val", number=1, signal=signal.SIGINT), 130, 3),
        (KillPoint("val", number=4, signal=signal.SIGTERM), 143, 6),
    ]
    stop_and_go_on(nursery, tmp_path, [*HERE, "trainer=ddp_cpu"], stops)
