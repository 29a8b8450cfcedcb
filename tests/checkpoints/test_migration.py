"""Checkpoints of every version are read, resumed and never mistaken."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from guidance.checkpoints import migration
from guidance.checkpoints.checkpoint_io import AtomicCheckpointIO
from guidance.checkpoints.migration import FORMAT_VERSION, MIGRATIONS, Migration, migrate
from guidance.checkpoints.reading import read_checkpoint, register_checkpoint_config
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.run_directory import register_resolvers
from guidance.runs.run import evaluate, train
from tests.checkpoints.write import FOLDER, OVERRIDES, name
from tests.tiny import tiny_config

STORED = sorted(FOLDER.glob("*.ckpt"))


def with_version(version: Any) -> dict[str, Any]:
    return {"guidance": {"format_version": version, "classes": ["a"]}, "state_dict": {}}


def rename_classes(content: dict[str, Any]) -> dict[str, Any]:
    content["guidance"]["names"] = content["guidance"].pop("classes")
    return content


def add_threshold(content: dict[str, Any]) -> dict[str, Any]:
    own = content["guidance"] | {"threshold": 0.5, "names": tuple(content["guidance"]["names"])}
    return content | {"guidance": own}


CHAIN: Mapping[int, Migration] = {1: rename_classes, 2: add_threshold}


def test_every_older_version_has_its_step_and_its_file() -> None:
    assert set(MIGRATIONS) == set(range(1, FORMAT_VERSION))
    assert {path.name.partition("-")[0] for path in STORED} == {
        f"format{n}" for n in range(1, FORMAT_VERSION + 1)
    }


def test_this_release_has_its_file() -> None:
    assert (FOLDER / name()).is_file()


def test_the_steps_are_taken_one_after_the_other() -> None:
    expected = {"format_version": 3, "names": ("a",), "threshold": 0.5}
    assert migrate(with_version(1), "a.ckpt", CHAIN, 3)["guidance"] == expected
    renamed = rename_classes(with_version(2))
    assert migrate(renamed, "a.ckpt", CHAIN, 3)["guidance"] == expected


def test_what_has_the_version_stays_as_it_is() -> None:
    content = with_version(FORMAT_VERSION)
    assert migrate(content, "a.ckpt") is content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"^a\.ckpt was not written by this project"),
        ({"guidance": []}, "was not written by this project"),
        (with_version(None), "format_version is None, no version"),
        (with_version(True), "no version"),
        (with_version(0), "no version"),
        pytest.param(with_version(10**5000), "is a number beyond all, no version", id="digits"),
        (with_version(1.0), "no version"),
        (
            with_version(FORMAT_VERSION + 1),
            r"^a\.ckpt has format 2, this version reads up to 1: it was written by a ",
        ),
    ],
)
def test_other_versions_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        migrate(content, "a.ckpt")


@pytest.mark.parametrize("read", [read_checkpoint, AtomicCheckpointIO().load_checkpoint])
def test_every_way_of_reading_migrates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    """A checkpoint of the version before this one, made by hand, whose step gives what this version has."""
    content = torch.load(STORED[-1], weights_only=True)
    threshold = content["guidance"].pop("iou_threshold")
    content["threshold"] = threshold
    path = tmp_path / "old.ckpt"
    torch.save(content, path)

    def move(old: dict[str, Any]) -> dict[str, Any]:
        old["guidance"]["iou_threshold"] = old.pop("threshold")
        return old

    monkeypatch.setattr(migration.migrate, "__defaults__", ({FORMAT_VERSION: move}, FORMAT_VERSION + 1))
    assert read(path)["guidance"]["iou_threshold"] == threshold
    assert read(path)["guidance"]["format_version"] == FORMAT_VERSION + 1


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_a_stored_checkpoint_is_evaluated(stored: Path, tmp_path: Path) -> None:
    register_resolvers()
    register_checkpoint_config([f"ckpt_path={stored}"])
    overrides = [f"ckpt_path={stored}", f"paths.output_dir={tmp_path}", "trainer.enable_progress_bar=false"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        found = evaluate(compose("evaluate", overrides))
    assert 0 <= found["test/f1_micro"] <= 1
    assert 0 <= found["test/epg"] <= 1


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_a_stored_checkpoint_is_resumed(stored: Path, tmp_path: Path) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    shutil.copy(stored, last)
    before = read_checkpoint(stored)
    train(tiny_config(tmp_path / "run", *OVERRIDES, "trainer.max_epochs=2", "ckpt_path=last"))
    after = read_checkpoint(last)
    assert after["guidance"]["format_version"] == FORMAT_VERSION
    assert (before["global_step"], after["global_step"]) == (2, 4)
    assert after["epoch"] == before["epoch"] + 1
