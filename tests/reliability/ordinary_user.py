"""Commands run without root's right to write everywhere, so that read-only folders are read-only."""

import ctypes
import subprocess
from pathlib import Path

from tests.commands import command
from tests.nursery import environment

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def _drop_rights() -> None:
    """Give up root's rights over files; who is not root has none and is refused, which does not matter."""
    libc = ctypes.CDLL(None)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def run_as_ordinary_user(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the project to its end, as somebody who may not write into read-only folders."""
    return subprocess.run(
        command(program, *arguments),
        cwd=cwd,
        env=environment(),
        preexec_fn=_drop_rights,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
