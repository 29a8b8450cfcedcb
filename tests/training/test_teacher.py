"""A student that learns from a checkpoint, through the configuration."""

from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.runs.run import train
from tests.tiny import results, tiny_config


def test_a_run_is_taught_by_an_earlier_one(tmp_path: Path) -> None:
    train(tiny_config(tmp_path / "teacher", "loss=none", "trainer.max_epochs=1"))
    checkpoint = tmp_path / "teacher" / "checkpoints" / "last.ckpt"
    for loss in ("map_similarity", "e2kd"):
        run = tmp_path / loss
        options = [f"loss={loss}", f"loss.teacher.checkpoint={checkpoint}", "trainer.max_epochs=1"]
        train(tiny_config(run, *options, "trainer.log_every_n_steps=1"))
        assert 0 <= results(run)["test/epg"] <= 1
        header, *rows = (run / "metrics.csv").read_text().splitlines()
        column = header.split(",").index("train/localization_loss")
        values = [float(row.split(",")[column]) for row in rows if row.split(",")[column]]
        assert values
        assert all(0 <= value <= 2 for value in values)


def test_a_teacher_that_is_not_there(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "loss=e2kd", f"loss.teacher.checkpoint={tmp_path / 'none.ckpt'}")
    with pytest.raises(InputError, match=r"loss\.teacher\.checkpoint: no file .*none\.ckpt"):
        train(config)
