"""Starts commands of the project in processes that have the libraries loaded: a start costs no seconds.

Run as a program it reads one line of JSON for each command, forks, and runs the command in the child as
Python would: ``sys.argv``, ``__main__``, environment, exit status, its own session. The child differs from a
started program in what is already imported, and in nothing else.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import cast

from tests.reliability.kill_point import KillPoint, count_calls, install, session

ROOT = Path(__file__).resolve().parent.parent
_CALLS = "calls.txt"


def environment() -> dict[str, str]:
    """Return an environment in which two processes share two cores and W&B stays offline."""
    return os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HYDRA_FULL_ERROR": "0"}


class Nursery:
    """The parent of processes that run commands; use it as a context manager."""

    def __enter__(self) -> "Nursery":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"],
            cwd=ROOT,
            env=environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(
        self,
        cwd: Path,
        command: list[str],
        point: KillPoint | None = None,
        counts_calls: bool = False,
        printed: tuple[Path, Path] | None = None,
    ) -> "Child":
        """Start a command.

        Args:
            cwd: Where it runs.
            command: ``train.py`` or a package that runs, and its arguments.
            point: When it kills itself.
            counts_calls: Whether it writes how many Python functions it called.
            printed: The files that get its standard output and error; ``output.txt`` in ``cwd`` gets both by
                default.
        """
        output = cwd / "output.txt"
        request: dict[str, object] = {
            "cwd": str(cwd),
            "command": command,
            "environment": environment(),
            "point": asdict(point) if point else None,
            "counts_calls": counts_calls,
            "printed": [str(path) for path in printed or (output, output)],
        }
        self._say(request)
        return Child(self, int(self._hear()), cwd)

    def _say(self, request: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class Child:
    """A process that runs a command.

    Attributes:
        pid: Also the number of its session, in which all that it starts is.
    """

    def __init__(self, nursery: Nursery, pid: int, cwd: Path) -> None:
        self.nursery, self.pid, self.cwd = nursery, pid, cwd

    def wait(self) -> int:
        """Return the exit status as ``subprocess`` has it: minus the signal's number if one ended it."""
        self.nursery._say({"wait": self.pid})
        return int(self.nursery._hear())

    @property
    def output(self) -> str:
        """What it and its predecessors in the same folder printed."""
        return (self.cwd / "output.txt").read_text(errors="replace")

    @property
    def calls(self) -> int:
        """How many Python functions it called."""
        return int((self.cwd / _CALLS).read_text())

    def left(self, patience: float = 30) -> dict[int, str]:
        """Return what is left of its session after some seconds of patience, and the command lines."""
        deadline = time.monotonic() + patience
        while (found := session(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


def _preload() -> None:
    import guidance.callbacks
    import guidance.report.report
    import guidance.runs.run
    import guidance.sweep.job  # noqa: F401


def _run(request: dict[str, object]) -> None:
    """Become the command; returns as the program does, or raises SystemExit."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(cast("dict[str, str]", request["environment"]))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, path in enumerate(cast("list[str]", request["printed"]), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the parent's is closed
    program, *arguments = cast("list[str]", request["command"])
    sys.argv = [str(ROOT / program), *arguments]
    if request["counts_calls"]:
        count_calls(Path(str(request["cwd"])) / _CALLS)
    if request["point"]:
        install(KillPoint(**request["point"]))  # type: ignore[arg-type]
    if program.endswith(".py"):
        runpy.run_path(str(ROOT / program), run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def main() -> None:
    """Serve until the standard input ends."""
    _preload()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _run(request)
            return
        print(pid, flush=True)


if __name__ == "__main__":
    main()
