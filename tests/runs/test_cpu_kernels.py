"""Runs compute by kernels of our own unless ``trainer.cpu_kernels=false``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.models import kernels
from guidance.protocols import run as protocols
from guidance.runs import run as runs
from tests.tiny import composed


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("run", [runs.train, runs.evaluate, protocols.run_protocol])
@pytest.mark.parametrize(
    ("options", "expected"),
    [([], True), (["trainer.cpu_kernels=false"], False), (["~trainer.cpu_kernels"], True)],
)
def test_runs(
    run: Callable[[Any], Any],
    options: list[str],
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last options are those of a run from before there were kernels."""
    found = []

    def stop() -> None:
        found.append(kernels.in_use_for(torch.zeros(1)))
        raise _StoppedError

    for module in (runs, protocols):
        monkeypatch.setattr(module, "quiet_lightning", stop)
    with pytest.raises(_StoppedError):
        run(composed(tmp_path, *options))
    assert found == [expected]
    assert not kernels.in_use_for(torch.zeros(1))
