"""Tables and pictures on Weights & Biases."""

import json
from pathlib import Path

import pytest
import wandb

from guidance.report.__main__ import main
from tests.report.run_folders import write_study


def test_wandb_gets_tables_and_pictures_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    write_study(tmp_path / "runs")
    output = tmp_path / "out"
    arguments = [str(tmp_path / "runs"), "--gallery-images", "0", "--output", str(output)]
    assert main([*arguments, "--wandb", "study"]) == 0
    assert wandb.run is None, "the run was not closed"
    tables = [json.loads(path.read_text()) for path in output.rglob("media/table/**/*.json")]
    assert sorted(len(table["data"]) for table in tables) == [3, 3], "survivors; configurations and weights"
    assert len(list(output.rglob("media/images/**/*.png"))) == 2
    assert list(output.rglob("media/html/**/*.html"))
