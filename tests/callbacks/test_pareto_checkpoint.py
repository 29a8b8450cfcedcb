import json
import math
import multiprocessing
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from guidance.callbacks import pareto_checkpoint
from guidance.callbacks.pareto_checkpoint import ParetoCheckpoint
from guidance.checkpoints.checkpoint_io import AtomicCheckpointIO
from guidance.errors import InputError
from guidance.figures import draw_front

METRICS = ("val/f1_micro", "val/epg")
Script = list[tuple[float, float]]

# Epoch 4 beats epochs 1 and 2; epochs 3, 5 and 6 are beaten at once; epoch 7 equals epoch 4.
SCRIPT: Script = [
    (0.9, 0.1),
    (0.5, 0.5),
    (0.4, 0.6),
    (0.3, 0.3),
    (0.6, 0.7),
    (0.5, 0.5),
    (0.6, 0.1),
    (0.6, 0.7),
]


class Scripted(LightningModule):
    """A model whose validation metrics are written down beforehand, one pair for each validation."""

    def __init__(self, script: Script, names: tuple[str, ...] = METRICS) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.script, self.names = script, names
        self.per_epoch = 1
        self.seen = 0

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def on_validation_start(self) -> None:
        self.seen = 0 if self.trainer.sanity_checking else self.seen + 1

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        turn = 0 if self.trainer.sanity_checking else self.current_epoch * self.per_epoch
        if self.per_epoch > 1:
            turn += (self.seen - 1) % self.per_epoch
        for name, value in zip(self.names, self.script[turn], strict=True):
            self.log(name, torch.tensor(value, dtype=torch.float64) - 0.01 * self.global_rank)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(Callback):
    """Checks after every validation that folder, ``front.json`` and every rank's memory agree."""

    def __init__(self, callback: ParetoCheckpoint) -> None:
        self.callback = callback

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names = [point["checkpoint"] for point in self.callback.front]
        assert trainer.strategy.broadcast(names) == names
        if trainer.is_global_zero and names and not trainer.sanity_checking:
            assert files(self.callback.dirpath) == sorted(names)
            assert written(self.callback.dirpath) == names


class Tables(Logger):
    """A logger that takes tables and pictures."""

    name, version = "tables", 0

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}
        self.images: dict[str, Any] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def log_table(self, key: str, columns: list[str], data: list[list[Any]]) -> None:
        self.tables[key] = [columns, *data]

    def log_image(self, key: str, images: list[Any]) -> None:
        self.images[key] = images


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pareto_checkpoint, "draw_front", lambda *arguments, **named: None)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".ckpt" in path.name)


def written(folder: Path) -> list[str]:
    return [point["checkpoint"] for point in read(folder)["front"]]


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "front.json").read_text())
    return content


def expected(script: Script) -> list[str]:
    """Keep each point that no other one matches everywhere, the first of equals."""
    kept = []
    for i, point in enumerate(script):
        rivals = [other for j, other in enumerate(script) if (other != point or j < i) and j != i]
        if not any(all(a >= b for a, b in zip(other, point, strict=True)) for other in rivals):
            kept.append(f"epoch={i:03d}.ckpt")
    return kept


def fit(
    folder: Path,
    script: Script = SCRIPT,
    epochs: int | None = None,
    resume: Path | None = None,
    model: Scripted | None = None,
    callback: ParetoCheckpoint | None = None,
    **options: Any,
) -> ParetoCheckpoint:
    """Train on ``script``; the front is in ``folder/front``, what to resume from in ``folder/last.ckpt``."""
    callback = callback or ParetoCheckpoint(folder / "front", METRICS)
    last = ModelCheckpoint(
        folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    watch = Watch(callback)
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "plugins": [AtomicCheckpointIO()],
        **options,
    }
    trainer = Trainer(
        max_epochs=epochs or len(script),
        callbacks=[callback, watch, last],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    loader = DataLoader(TensorDataset(torch.ones(2, 1)), batch_size=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pytorch_lightning\.(?!util)")
        trainer.fit(model or Scripted(script), loader, loader, ckpt_path=resume)
    return callback


def test_keeps_the_front_and_only_the_front(tmp_path: Path) -> None:
    callback = fit(tmp_path)
    assert (
        files(callback.dirpath)
        == written(callback.dirpath)
        == expected(SCRIPT)
        == ["epoch=000.ckpt", "epoch=004.ckpt"]
    )
    content = read(callback.dirpath)
    assert content["metrics"] == list(METRICS)
    assert content["front"][1] == {
        "epoch": 4,
        "global_step": 10,
        "metrics": {"val/f1_micro": 0.6, "val/epg": 0.7},
        "checkpoint": "epoch=004.ckpt",
    }
    assert sorted(point["epoch"] for point in content["dominated"]) == [1, 2, 3, 5, 6, 7]
    assert all("checkpoint" not in point for point in content["dominated"])
    assert callback.front == content["front"]


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_front_of_all_points(seed: int, tmp_path: Path) -> None:
    generator = random.Random(seed)
    script = [(generator.randrange(5) / 4, generator.randrange(5) / 4) for _ in range(8)]
    callback = fit(tmp_path, script)
    assert files(callback.dirpath) == written(callback.dirpath) == expected(script)


def test_front_checkpoint_knows_itself_and_loads_weights_only(tmp_path: Path) -> None:
    callback = fit(tmp_path)
    content = torch.load(callback.dirpath / "epoch=004.ckpt", weights_only=True)
    state = content["callbacks"]["ParetoCheckpoint"]
    assert [point["epoch"] for point in state["front"]] == [0, 4]
    assert content["epoch"] == 4


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_resumed_run_equals_an_uninterrupted_one(stop: int, tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "parts", epochs=stop)
    parts = fit(tmp_path / "parts", resume=tmp_path / "parts" / "last.ckpt")
    assert read(parts.dirpath) == read(whole.dirpath)
    assert files(parts.dirpath) == files(whole.dirpath)


@pytest.mark.parametrize("step", ["write_json", "draw_front"])
@pytest.mark.parametrize("epoch", [1, 4])
def test_crash_loses_no_checkpoint_and_the_resumed_run_is_the_same(
    step: str, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die between the new checkpoint and ``front.json``, or after the beaten ones were deleted."""
    whole = fit(tmp_path / "whole")
    intact = getattr(pareto_checkpoint, step)
    calls = 0

    def die(*arguments: Any, **named: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > epoch:
            raise RuntimeError("killed")
        intact(*arguments, **named)

    monkeypatch.setattr(pareto_checkpoint, step, die)
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "parts")
    front = tmp_path / "parts" / "front"
    assert set(written(front)) <= set(files(front))
    assert f"epoch={epoch:03d}.ckpt" in files(front)
    monkeypatch.setattr(pareto_checkpoint, step, intact)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is gone.*")
        parts = fit(tmp_path / "parts", resume=tmp_path / "parts" / "last.ckpt")
    assert read(parts.dirpath) == read(whole.dirpath)
    assert files(parts.dirpath) == files(whole.dirpath)


def test_half_written_and_stray_checkpoints_are_cleared(tmp_path: Path) -> None:
    fit(tmp_path, epochs=2)
    (tmp_path / "front" / "epoch=001.ckpt.tmp").write_text("half")
    (tmp_path / "front" / "epoch=077.ckpt").write_text("stray")
    (tmp_path / "front" / "notes.txt").write_text("mine")
    fit(tmp_path, epochs=3, resume=tmp_path / "last.ckpt")
    assert files(tmp_path / "front") == ["epoch=000.ckpt", "epoch=001.ckpt", "epoch=002.ckpt"]
    assert (tmp_path / "front" / "notes.txt").exists()


def test_lost_file_is_dropped_with_a_warning_at_the_next_point_or_the_end(tmp_path: Path) -> None:
    fit(tmp_path, epochs=2)
    (tmp_path / "front" / "epoch=000.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"epoch=000\.ckpt' is gone"):
        callback = fit(tmp_path, epochs=3, resume=tmp_path / "last.ckpt")
    assert written(callback.dirpath) == files(callback.dirpath) == ["epoch=001.ckpt", "epoch=002.ckpt"]
    (tmp_path / "front" / "epoch=001.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"epoch=001\.ckpt' is gone"):  # nothing is left to train
        callback = fit(tmp_path, epochs=3, resume=tmp_path / "last.ckpt")
    assert written(callback.dirpath) == files(callback.dirpath) == ["epoch=002.ckpt"]


def test_resuming_from_a_front_checkpoint_does_not_count_its_point_twice(tmp_path: Path) -> None:
    fit(tmp_path, epochs=2)
    callback = fit(tmp_path, resume=tmp_path / "front" / "epoch=001.ckpt")
    points = read(callback.dirpath)["front"] + read(callback.dirpath)["dominated"]
    assert sorted(point["epoch"] for point in points) == list(range(8))
    assert files(callback.dirpath) == expected(SCRIPT)


def test_new_run_does_not_delete_the_front_of_another(tmp_path: Path) -> None:
    fit(tmp_path)
    before = files(tmp_path / "front")
    with pytest.raises(InputError, match="choose another folder"):
        fit(tmp_path)
    assert files(tmp_path / "front") == before


def test_run_that_died_before_anything_could_be_resumed_may_start_again(tmp_path: Path) -> None:
    fit(tmp_path, epochs=1)
    assert files(fit(tmp_path).dirpath) == expected(SCRIPT)


def test_two_validations_in_one_epoch_are_two_points(tmp_path: Path) -> None:
    model = Scripted([(0.1, 0.9), (0.9, 0.1), (0.5, 0.5), (0.1, 0.9)])
    model.per_epoch = 2
    callback = fit(tmp_path, epochs=2, model=model, val_check_interval=0.5)
    assert files(callback.dirpath) == ["epoch=000-step=2.ckpt", "epoch=000.ckpt", "epoch=001.ckpt"]
    assert sorted(written(callback.dirpath)) == files(callback.dirpath)


def test_point_with_nan_is_left_out(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="epoch 1 cannot be on the front"):
        callback = fit(tmp_path, [(0.5, 0.5), (0.9, math.nan), (0.6, 0.4)])
    assert files(callback.dirpath) == ["epoch=000.ckpt", "epoch=002.ckpt"]
    assert read(callback.dirpath)["dominated"] == []


def test_missing_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metric val/epg .*Logged: val/f1_micro, val/iou"):
        fit(tmp_path, model=Scripted(SCRIPT, ("val/f1_micro", "val/iou")))


def test_sanity_check_and_plain_validation_are_no_points(tmp_path: Path) -> None:
    callback = fit(tmp_path, epochs=1, num_sanity_val_steps=1)
    assert [point["epoch"] for point in callback.front] == [0]
    trainer = Trainer(callbacks=[callback], accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.validate(Scripted([(1.0, 1.0)]), DataLoader(TensorDataset(torch.ones(1, 1))), verbose=False)
    assert [point["epoch"] for point in callback.front] == [0]


@pytest.mark.parametrize("metrics", [(), ("val/epg",), ("val/epg", "val/epg")])
def test_refuses_too_few_metrics(metrics: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two different metrics"):
        ParetoCheckpoint(tmp_path, metrics)


def test_refuses_the_state_of_other_metrics(tmp_path: Path) -> None:
    state = ParetoCheckpoint(tmp_path, METRICS).state_dict()
    with pytest.raises(InputError, match="front is over"):
        ParetoCheckpoint(tmp_path, ("val/f1_micro", "val/iou")).load_state_dict(state)


def test_picture_and_table_reach_the_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pareto_checkpoint, "draw_front", draw_front)
    tables = Tables()
    callback = fit(tmp_path, epochs=3, logger=tables)
    picture = callback.dirpath / "front.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert tables.images == {"pareto/front": [str(picture)]}
    header, *rows = tables.tables["pareto/points"]
    assert header == ["epoch", "global_step", *METRICS, "checkpoint"]
    assert rows[0] == [0, 2, 0.9, 0.1, "epoch=000.ckpt"]
    assert len(rows) == 3


def test_two_ranks_decide_alike(tmp_path: Path) -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "torchmetrics", "hypothesis"])
    strategy = DDPStrategy(start_method="forkserver", process_group_backend="gloo")
    fit(tmp_path, epochs=5, devices=2, strategy=strategy)
    assert files(tmp_path / "front") == written(tmp_path / "front") == expected(SCRIPT[:5])
    assert read(tmp_path / "front")["front"][0]["metrics"] == {"val/f1_micro": 0.9, "val/epg": 0.1}
