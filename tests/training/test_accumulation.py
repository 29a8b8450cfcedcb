"""Steps of several batches, and clipped gradients: what the optimizer sees."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from guidance.callbacks import LastCheckpoint
from guidance.models.bcos_layers import UncenteredBatchNorm2d
from guidance.randomness import hash_integers
from guidance.runs.building import build_data, build_module, build_trainer
from guidance.runs.run import train
from tests.tiny import tiny_config
from tests.training.test_module import make_batch, make_module

Gradients = list[list[Tensor]]
"""Of every step, of every parameter."""


class Recorder(pl.Callback):
    """Keeps the gradients that the optimizer is given."""

    def __init__(self) -> None:
        self.steps: Gradients = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            self.steps.append([p.grad.clone() for p in pl_module.parameters() if p.grad is not None])

        trainer.optimizers[0].register_step_post_hook(note)  # before it, Lightning has no gradients yet


def gradients(folder: Path, *options: str) -> Gradients:
    """Return what the optimizer is given in an epoch of 40 images, in float64, without batch statistics."""
    config = tiny_config(
        folder,
        "trainer.precision=64-true",
        "trainer.max_epochs=1",
        "+trainer.limit_val_batches=0",
        "loss.weight=1",
        *options,
    )
    datamodule = build_data(config)
    torch.manual_seed(0)
    module = build_module(config, datamodule)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, UncenteredBatchNorm2d):
                setattr(parent, name, nn.Identity())
    recorder = Recorder()
    trainer = build_trainer(config, [], [])
    trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
    trainer.fit(module, datamodule)
    return recorder.steps


def assert_same(one: Gradients, other: Gradients) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for p, q in zip(a, b, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-9 * float(q.abs().max()))
            assert q.abs().max() > 0


@pytest.mark.parametrize(
    ("batch", "together", "options"),
    [
        (4, 4, []),  # the last step has two batches
        (12, 2, []),  # and here a batch of 12 and one of 4
        (4, 4, ["loss.reduction=sum", "loss.weight=0.05", "data.annotated_fraction=0.4"]),
        (12, 2, ["loss=none"]),
    ],
)
def test_batches_of_one_step_equal_one_large_batch(
    batch: int, together: int, options: list[str], tmp_path: Path
) -> None:
    large = gradients(tmp_path, f"data.batch_size={batch * together}", *options)
    small = gradients(
        tmp_path, f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={together}", *options
    )
    assert_same(small, large)


def test_with_few_guided_images_a_step_is_the_weighted_mean_of_its_batches(tmp_path: Path) -> None:
    options = ["data.annotated_fraction=0.4", "optimizer.lr=0", "data.batch_size=12"]
    alone = gradients(tmp_path, *options)
    together = gradients(tmp_path, *options, "trainer.accumulate_grad_batches=3")
    sizes = (12, 12, 12, 4)
    assert len(alone) == len(sizes)
    first = [sum(12 / 36 * g for g in of_all) for of_all in zip(*alone[:3], strict=True)]
    assert_same(together, [[g for g in first if isinstance(g, Tensor)], alone[3]])


@pytest.mark.parametrize("together", [1, 2])
def test_clipping_is_torch_s_on_the_gradient_of_the_whole_loss(together: int, tmp_path: Path) -> None:
    options = ["optimizer.lr=0", f"trainer.accumulate_grad_batches={together}"]
    whole = gradients(tmp_path, *options)
    clipped = gradients(tmp_path, *options, "trainer.gradient_clip_val=0.01")
    for step in whole:
        parameters = [nn.Parameter(g) for g in step]
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(parameters, 0.01)
        assert norm > 0.02, "it would not be clipped"
    assert_same(clipped, whole)


def test_each_batch_of_a_step_has_its_own_dropout() -> None:
    seeds = []
    for together in (1, 2):
        module = make_module()
        module.trainer.accumulate_grad_batches = together
        for number in range(2):
            module.on_train_batch_start(make_batch(), number)
            seeds.append(torch.initial_seed())
    alone, again, first, second = seeds
    assert alone == again == first == int(hash_integers(module.seed, 0, 0))
    assert second != first


class Stopped(Exception):  # noqa: N818 - no error
    """Raised in the place of a signal."""


@pytest.mark.parametrize("batches", [5, 13])
def test_resume_between_steps_is_exact(batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved after the second or the sixth step of five per epoch, killed in the middle of the next one."""
    options = [
        "data.batch_size=4",
        "trainer.accumulate_grad_batches=2",
        "callbacks.last.every_n_steps=2",
        "callbacks.gallery=null",
        "callbacks.pareto=null",
        "test_front=false",
    ]
    train(tiny_config(tmp_path / "whole", *options))
    seen = 0
    usual = LastCheckpoint.on_train_batch_end

    def stop(self: LastCheckpoint, *args: Any) -> None:
        nonlocal seen
        usual(self, *args)
        seen += 1
        if seen == batches:
            raise Stopped

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", stop)
    with pytest.raises(Stopped):
        train(tiny_config(tmp_path / "stopped", *options))
    monkeypatch.undo()
    saved = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    assert torch.load(saved, weights_only=True)["global_step"] == batches // 2
    train(tiny_config(tmp_path / "stopped", *options, "ckpt_path=last"))
    one, other = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("whole", "stopped")
    )
    assert one["global_step"] == other["global_step"] == 10
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
