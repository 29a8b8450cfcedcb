"""The project's commands, run to their end."""

import atexit
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from tests.nursery import ROOT, Child, Nursery


def command(program: str, *arguments: str) -> list[str]:
    """Return a command line of the project; a program is a file, as ``train.py``, or a package that runs."""
    started = [str(ROOT / program)] if program.endswith(".py") else ["-m", program]
    return [sys.executable, *started, *arguments]


def run_command(
    program: str, *arguments: str, cwd: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of the project to its end, in a process that has the libraries loaded."""
    with TemporaryDirectory() as folder:
        printed = Path(folder) / "stdout", Path(folder) / "stderr"
        child = _nursery().start(cwd, [program, *arguments], printed=printed)
        timer = Timer(300, os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        try:
            status = child.wait()
        finally:
            timer.cancel()
        stdout, stderr = (path.read_text() for path in printed)
    if check and status:
        raise AssertionError(f"exit status {status}\n{stdout}\n{stderr}")
    return subprocess.CompletedProcess(command(program, *arguments), status, stdout, stderr)


def start_command(program: str, *arguments: str, cwd: Path) -> Child:
    """Start a command of the project in the background; what it prints is not kept."""
    nothing = Path(os.devnull)
    return _nursery().start(cwd, [program, *arguments], printed=(nothing, nothing))


@cache
def _nursery() -> Nursery:
    """Return the one of this process, which ends with it."""
    nursery = Nursery().__enter__()
    atexit.register(nursery.__exit__)
    return nursery
