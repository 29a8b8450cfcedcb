"""Where a run writes, and which run `ckpt_path=last` continues."""

import os
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError
from guidance.run_directory import keep_configuration, resolve_checkpoint, run_directory


def config(**values: object) -> DictConfig:
    return OmegaConf.create({"ckpt_path": None, "seed": 0, "lr": "${seed}", "paths": {"a": 1}, **values})


def earlier_run(runs: Path, name: str, content: DictConfig) -> Path:
    folder = runs / "2020-01-01" / name
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(content, folder / ".hydra" / "config.yaml")
    return folder


def directory(runs: Path, content: DictConfig) -> str:
    return run_directory(str(runs), "2030-01-01", "12-00-00", _root_=content)


def test_new_run_gets_a_new_folder(tmp_path: Path) -> None:
    earlier_run(tmp_path, "a", config())
    assert directory(tmp_path, config()) == str(tmp_path / "2030-01-01" / "12-00-00")


def test_a_run_of_the_same_second_or_of_a_clock_set_back_keeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / "2030-01-01" / "12-00-00").mkdir(parents=True)
    assert directory(tmp_path, config()) == str(tmp_path / "2030-01-01" / "12-00-00_2")
    assert directory(tmp_path, config()) == str(tmp_path / "2030-01-01" / "12-00-00_2"), (
        "it is this process's"
    )


def test_processes_that_something_else_starts_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "2030-01-01" / "12-00-00").mkdir(parents=True)
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert directory(tmp_path, config()) == str(tmp_path / "2030-01-01" / "12-00-00")


def test_last_is_the_newest_of_the_same_configuration(tmp_path: Path) -> None:
    earlier_run(tmp_path, "a", config())
    newest = earlier_run(tmp_path, "b", config(ckpt_path="last", paths={"a": 2}))
    earlier_run(tmp_path, "c", config(seed=1))
    (tmp_path / "2020-01-01" / "d" / ".hydra").mkdir(parents=True)
    broken = tmp_path / "2020-01-01" / "e" / ".hydra"
    broken.mkdir(parents=True)
    (broken / "config.yaml").write_text("a: [")
    assert directory(tmp_path, config(ckpt_path="last")) == str(newest)


def test_last_without_an_earlier_run_starts_a_new_one(tmp_path: Path) -> None:
    earlier_run(tmp_path, "c", config(seed=1))
    assert directory(tmp_path, config(ckpt_path="last")).endswith("2030-01-01/12-00-00")


def test_killed_while_it_writes_what_it_is_a_run_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "2020-01-01" / "a"
    hydra = OmegaConf.create({"runtime": {"output_dir": str(folder)}, "overrides": {"task": ["seed=0"]}})
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    keep_configuration(config())
    whole = (folder / ".hydra" / "config.yaml").read_text()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        keep_configuration(config())
    assert (folder / ".hydra" / "config.yaml").read_text() == whole
    assert directory(tmp_path, config(ckpt_path="last")) == str(folder)
    assert OmegaConf.load(folder / ".hydra" / "overrides.yaml") == ["seed=0"]
    assert OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra.overrides.task == ["seed=0"]


def test_checkpoint_to_resume_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_checkpoint(None, tmp_path) is None
    assert resolve_checkpoint("last", tmp_path) is None
    assert "starting from the beginning" in caplog.text
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    assert resolve_checkpoint("last", tmp_path) == last
    assert resolve_checkpoint(str(last), tmp_path / "elsewhere") == last
    with pytest.raises(InputError, match=r"ckpt_path: no file .*gone.ckpt"):
        resolve_checkpoint(str(tmp_path / "gone.ckpt"), tmp_path)
