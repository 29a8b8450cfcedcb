"""Resuming from a stranger's checkpoint deletes and overwrites nothing but the run's own files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from guidance.callbacks import ParetoCheckpoint
from guidance.checkpoints.checkpoint_io import AtomicCheckpointIO
from guidance.errors import InputError


def state_of_best(folder: Path, **changed: Any) -> dict[str, Any]:
    """Return a checkpoint whose callback of Lightning's holds some files for its own."""
    best = str(folder / "best.ckpt")
    state = {
        "monitor": "val/f1_micro",
        "best_model_score": torch.tensor(0.1),
        "best_model_path": best,
        "current_score": torch.tensor(0.1),
        "dirpath": str(folder),
        "best_k_models": {best: torch.tensor(0.1)},
        "kth_best_model_path": best,
        "kth_value": torch.tensor(0.1),
        "last_model_path": "",
    }
    return {"callbacks": {"ModelCheckpoint": state | changed}}


@pytest.mark.parametrize(
    "key", ["best_model_path", "kth_best_model_path", "last_model_path", "best_k_models"]
)
@pytest.mark.parametrize(
    "name", ["{0}/../../victim.ckpt", "/etc/passwd", "s3://bucket/x", "local://{0}", "{0}/deep/x.ckpt", ".."]
)
def test_files_elsewhere_are_not_taken_for_the_run_s_own(tmp_path: Path, key: str, name: str) -> None:
    folder = tmp_path / "run" / "checkpoints"
    name = name.format(folder)
    value: Any = {name: torch.tensor(0.0)} if key == "best_k_models" else name
    torch.save(state_of_best(folder, **{key: value}), tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="it is in another folder"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")


def test_a_state_without_its_folder_is_refused(tmp_path: Path) -> None:
    content = state_of_best(tmp_path, kth_best_model_path=str(tmp_path / ".." / "victim.ckpt"))
    del content["callbacks"]["ModelCheckpoint"]["dirpath"]
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="it is in another folder"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")


def test_the_state_of_an_honest_run_is_read(tmp_path: Path) -> None:
    torch.save(state_of_best(tmp_path / "checkpoints"), tmp_path / "a.ckpt")
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")["callbacks"]


def test_lightning_itself_would_delete_such_a_file(tmp_path: Path) -> None:
    """The attack that the tests above are about: without the check, this state makes Lightning delete."""
    callback = ModelCheckpoint(dirpath=tmp_path / "run" / "checkpoints")
    victim = f"{callback.dirpath}/../../victim.ckpt"

    class Trainer:
        ckpt_path = None

    assert callback._should_remove_checkpoint(Trainer(), victim, "new.ckpt")  # type: ignore[arg-type]


def test_only_files_of_checkpoints_are_ever_deleted(tmp_path: Path) -> None:
    (tmp_path / "folder.ckpt").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("folder.ckpt", "notes.txt", "."):
        with pytest.raises(InputError, match="is not deleted"):
            AtomicCheckpointIO().remove_checkpoint(tmp_path / name)
    with pytest.raises(InputError, match="is not deleted"):
        AtomicCheckpointIO().remove_checkpoint(f"local://{tmp_path}")
    (tmp_path / "a.ckpt").write_text("old")
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "a.ckpt")
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "a.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.ckpt", "notes.txt"]


@pytest.mark.parametrize("name", ["../../victim.ckpt", "/etc/passwd", "last.ckpt", "epoch=1/../x.ckpt", ""])
def test_a_front_names_its_own_files_only(tmp_path: Path, name: str) -> None:
    pareto = ParetoCheckpoint(tmp_path)
    metrics = list(pareto.metrics)
    point = {"epoch": 0, "global_step": 1, "metrics": dict.fromkeys(metrics, 0.5), "checkpoint": name}
    with pytest.raises(InputError, match="no file of the front"):
        pareto.load_state_dict({"metrics": metrics, "front": [point], "dominated": []})
