"""A clock that is set forwards and backwards while a run goes on, and between runs."""

import itertools
import time
from pathlib import Path

import pytest

from guidance.runs.run import train
from tests.commands import run_command
from tests.tiny import OVERRIDES, results, tiny_config

SHORT = ["trainer.max_epochs=1", "test_front=false", "callbacks.gallery.num_images=0"]


def test_a_run_ends_as_ever_while_the_clock_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*SHORT, "trainer.enable_progress_bar=true"]
    train(tiny_config(tmp_path / "before", *options))
    right, jumps = time.time, itertools.cycle([0.0, 3600.0, -86400.0 * 365, 10.0, -7200.0])

    def jumping() -> float:
        return right() + next(jumps)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr("tqdm.std.time", jumping)
    train(tiny_config(tmp_path / "jumping", *options))
    a, b = results(tmp_path / "before"), results(tmp_path / "jumping")
    assert a == b
    rows = [(tmp_path / name / "metrics.csv").read_text() for name in ("before", "jumping")]
    assert rows[0] == rows[1]
    capsys.readouterr()


@pytest.mark.slow
def test_two_runs_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    """Hydra reads the clock once; here it stands still for both."""
    still = "hydra.run.dir='${run_dir:outputs,2030-01-01,12-00-00}'"
    for seed in (0, 1):
        run_command("train.py", *OVERRIDES, *SHORT, still, f"seed={seed}", cwd=tmp_path)
    first, second = (tmp_path / "outputs" / "2030-01-01" / name for name in ("12-00-00", "12-00-00_2"))
    assert (results(first)["seed"], results(second)["seed"]) == (0, 1)
    run_command("train.py", *OVERRIDES, *SHORT, still, "seed=0", "ckpt_path=last", cwd=tmp_path)
    assert sorted(path.name for path in first.parent.iterdir()) == ["12-00-00", "12-00-00_2"]
