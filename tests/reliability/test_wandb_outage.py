"""W&B that forbids a run, is not there, or says nothing: the run goes on, offline, and ends."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from guidance.loggers.wandb_logger import wandb_logger
from guidance.runs.run import train
from tests.reliability.wandb_server import wandb_server
from tests.tiny import results, tiny_config


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A key, so that W&B goes online, and limits of seconds."""
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "8")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "4")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    yield monkeypatch
    # W&B keeps a run that is open, and the environment of its first one, for all later ones of a process.
    wandb.finish()
    wandb.teardown()


def offline_runs(folder: Path) -> list[Path]:
    return list((folder / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", ["forbids", "refuses", "hangs"])
def test_a_run_that_is_not_taken_is_logged_offline(
    behaviour: str, key: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with wandb_server(behaviour) as server:
        key.setenv("WANDB_BASE_URL", server.url)
        begun = time.monotonic()
        logger = wandb_logger("guidance", str(tmp_path))
        logger.log_metrics({"a": 1.0}, 0)
        wandb.finish()
        assert time.monotonic() - begun < 60
    assert "W&B does not take the run" in caplog.text
    assert "wandb sync" in caplog.text
    assert len(offline_runs(tmp_path)) == 1
    assert "WANDB_MODE" not in os.environ, "the next run of a sweep may find the server again"


@pytest.mark.slow
def test_training_goes_on_without_wandb(key: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with wandb_server("forbids") as server:
        key.setenv("WANDB_BASE_URL", server.url)
        train(tiny_config(tmp_path / "run", "logger=wandb", "trainer.max_epochs=1"))
    assert results(tmp_path / "run")["test/epg"] >= 0
    assert offline_runs(tmp_path / "run")
    assert wandb.run is None, "the run was not closed"


@pytest.mark.slow
def test_a_server_that_goes_away_does_not_keep_the_run_from_ending(
    key: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key.setenv("WANDB_INIT_TIMEOUT", "60")
    with wandb_server("takes") as server:
        key.setenv("WANDB_BASE_URL", server.url)
        logger = wandb_logger("guidance", str(tmp_path))
        assert logger.experiment.name == "r1", "the server took it"
        server.stop()
        begun = time.monotonic()
        for step in range(5):
            logger.log_metrics({"a": float(step)}, step)
        wandb.finish()
        assert time.monotonic() - begun < 60
    assert "does not take" not in caplog.text
    assert not offline_runs(tmp_path)
    assert list((tmp_path / "wandb").glob("run-*/*.wandb")), "what was not uploaded is on the disk"


def test_limits_that_the_user_set_are_kept(key: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key.setenv("WANDB_MODE", "disabled")
    options = wandb_logger("guidance", str(tmp_path))._wandb_init["settings"]
    assert options == {}
    key.delenv("WANDB_INIT_TIMEOUT")
    options = wandb_logger("guidance", str(tmp_path))._wandb_init["settings"]
    assert options == {"init_timeout": 30.0}
