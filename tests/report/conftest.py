"""Two real, tiny runs: an unguided one, and a guided one that starts from it."""

import json
from pathlib import Path

import pytest

from guidance.runs.run import train
from tests.tiny import tiny_config


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that nobody changes."""
    folder = tmp_path_factory.mktemp("trained")
    train(tiny_config(folder / "baseline", "loss=none", "trainer.max_epochs=1"))
    start = folder / "baseline" / "checkpoints" / "best.ckpt"
    train(tiny_config(folder / "guided", "loss.weight=1", f"model.checkpoint={start}"))
    return folder


def forget_test_metrics(run: Path) -> dict[str, dict[str, float]]:
    """Make a run one that was not evaluated on test; return what it had measured, by checkpoint."""
    path = run / "pareto" / "front.json"
    content = json.loads(path.read_text())
    measured = {entry["checkpoint"]: entry.pop("test") for entry in content["front"]}
    path.write_text(json.dumps(content))
    return measured
