"""Steps that are not finite: stopped or skipped before anything changes; what, where, which images."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader

from guidance.attribution import Attributor, BcosContributions
from guidance.callbacks import FiniteGuard
from guidance.data import Batch
from guidance.errors import InputError
from guidance.losses import EnergyLoss
from guidance.models import bcos_small
from guidance.replay import joined_batches, read_failure
from guidance.training.module import GuidedClassifier
from tests.training.test_module import CLASSES, make_batch


def batch(number: int, bad: int | None = None) -> Batch:
    """Five images, numbers ``10 * number`` and on; of the bad one a single value is nan."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=generator)
    if bad is not None:
        images = images.float()
        images[bad, 1, 7, 9] = torch.nan
    return replace(make_batch(), images=images, indices=torch.arange(5) + 10 * number)


def make_module(attributor: Attributor | None = None, **options: Any) -> GuidedClassifier:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"localization": EnergyLoss(), "weight": 0.5} | options
    return GuidedClassifier(bcos_small(3, width=4), attributor or BcosContributions(), CLASSES, **settings)


def make_trainer(guard: FiniteGuard | None, **options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 1} | options
    return pl.Trainer(
        **settings,
        callbacks=[] if guard is None else [guard],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,
        use_distributed_sampler=False,
    )


def fit(
    guard: FiniteGuard | None, batches: Any, module: GuidedClassifier | None = None, **options: Any
) -> Any:
    module = module or make_module()
    trainer = make_trainer(guard, **options)
    trainer.fit(module, loader(batches) if isinstance(batches, list) else batches)
    return trainer


def loader(batches: list[Batch]) -> DataLoader[Batch]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def state(trainer: pl.Trainer) -> dict[str, Tensor]:
    """All that a step may change: weights, running statistics, the optimizer's state."""
    assert trainer.lightning_module is not None
    found = dict(trainer.lightning_module.model.state_dict())  # type: ignore[union-attr]
    for number, of_parameter in trainer.optimizers[0].state_dict()["state"].items():
        found |= {f"{number}.{name}": torch.as_tensor(value) for name, value in of_parameter.items()}
    return found


def assert_same(one: pl.Trainer, other: pl.Trainer) -> None:
    a, b = state(one), state(other)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_stops_before_the_step_and_names_the_image(tmp_path: Path) -> None:
    guard = FiniteGuard(tmp_path)
    stopped = make_trainer(guard)
    module = make_module()
    message = (
        r"training is not finite in epoch 0, step 1: input \(nan\) of 1 image: train image 23; then logits, "
        r"classification loss, map, localization loss, loss, gradient\. Stopped with the weights of before "
        r"the step\. Replace or remove these images"
    )
    with pytest.raises(InputError, match=message) as raised:
        stopped.fit(module, loader([batch(1), batch(2, bad=3), batch(3)]))
    assert str(raised.value).endswith(f"python -m guidance.replay {guard.path}")
    assert_same(stopped, fit(None, [batch(1)]))

    failure, content = read_failure(guard.path)
    assert (failure.epoch, failure.step) == (0, 1)
    assert failure.names == [f"train image {number}" for number in range(20, 25)]
    assert torch.equal(failure.batch.images.isnan(), batch(2, bad=3).images.isnan())
    assert failure.guided[0].tolist()[2:] == [-1, -1, -1]
    assert failure.findings[0].what == "input"
    for name, value in module.state_dict().items():
        assert torch.equal(content["state_dict"][name], value)
    first, second = guard.path.with_suffix(".txt").read_text().splitlines()
    assert first.startswith("epoch 0, step 1: input (nan) of 1 image: train image 23; then logits")
    assert second == f"python -m guidance.replay {guard.path}"


def test_a_skipped_step_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    guard = FiniteGuard(tmp_path, on_failure="skip")
    with_it = fit(guard, [batch(1), batch(2, bad=0), batch(3)])
    without = fit(None, [batch(1), batch(3)])
    assert_same(with_it, without)
    assert (with_it.global_step, without.global_step) == (3, 2)
    assert with_it.callback_metrics["train/skipped_steps"] == 1
    assert guard.state_dict() == {"skipped": 1, "in_a_row": 0}
    assert (
        "skipped a step that is not finite, epoch 0, step 1: input (nan) of 1 image: train image 20"
        in caplog.text
    )
    assert "1 of 3 steps were not finite and were skipped" in caplog.text
    assert read_failure(guard.path)[0].step == 1


def test_several_batches_are_one_step(tmp_path: Path) -> None:
    guard = FiniteGuard(tmp_path, on_failure="skip")
    batches = [batch(1), batch(2), batch(3, bad=1), batch(4), batch(5), batch(6)]
    with_it = fit(guard, batches, accumulate_grad_batches=2)
    assert_same(with_it, fit(None, batches[:2] + batches[4:], accumulate_grad_batches=2))
    assert read_failure(guard.path)[0].batch.indices.tolist() == list(range(30, 35))


def test_too_many_skipped_together_stop(tmp_path: Path) -> None:
    bad = [batch(number, bad=2) for number in range(4)]
    guard = FiniteGuard(tmp_path, on_failure="skip", max_in_a_row=2)
    fit(guard, [*bad[:2], batch(5), *bad[2:]])
    assert guard.skipped == 4
    assert read_failure(guard.path)[0].step == 0
    guard = FiniteGuard(tmp_path, on_failure="skip", max_in_a_row=2)
    with pytest.raises(
        InputError, match=r"in epoch 0, step 3: .* Stopped after 2 skipped together with the weights"
    ):
        fit(guard, [batch(5), *bad])
    assert read_failure(guard.path)[0].step == 3
    resumed = FiniteGuard(tmp_path, on_failure="skip", max_in_a_row=2)
    resumed.load_state_dict(guard.state_dict())
    with pytest.raises(InputError, match=r"step 0: .* Stopped after 3"):
        fit(resumed, bad)


class BrokenMap(BcosContributions):
    def combine(self, activation: Tensor, gradient: Tensor) -> Tensor:
        maps = super().combine(activation, gradient)
        return torch.cat([maps[:1] * torch.inf, maps[1:]])


class BrokenLoss(EnergyLoss):
    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        return super().forward(attributions, masks) * torch.nan


class _BrokenGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.nan


class LossWithBrokenGradient(EnergyLoss):
    def forward(self, attributions: Tensor, masks: Tensor) -> Tensor:
        return super().forward(_BrokenGradient.apply(attributions), masks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributor": BrokenMap()}, "map (infinite) of 1 image: train image 10; then localization loss"),
        (
            {"localization": BrokenLoss()},
            "localization loss (nan) of 2 images: train image 10, train image 11; then loss, gradient",
        ),
        ({"weight": 1e39}, "loss (infinite); then gradient"),
        (
            {"localization": LossWithBrokenGradient()},
            "gradient (nan) in 25 tensors: network.conv1.linear.weight, ",
        ),
        ({"weight": 1e30}, "gradient (too large) in 25 tensors: "),
    ],
)
def test_the_first_cause_is_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"epoch 0, step 0: {message}")):
        fit(FiniteGuard(tmp_path), [batch(1)], make_module(**options))


def test_logits_of_one_image(tmp_path: Path) -> None:
    module = make_module(localization=None)

    def spoil(_: nn.Module, __: Any, logits: Tensor) -> Tensor:
        return logits * torch.tensor([1, 1, 1, torch.inf, 1])[:, None]

    module.model.register_forward_hook(spoil)
    with pytest.raises(InputError, match=r"logits \(.*infinite.*\) of 1 image: train image 13; then classif"):
        fit(FiniteGuard(tmp_path), [batch(1)], module)


def test_weights_that_are_broken_before_are_not_skipped(tmp_path: Path) -> None:
    module = make_module()
    with torch.no_grad():
        module.model.get_parameter("network.conv1.linear.weight")[0] = torch.nan
    with pytest.raises(
        InputError, match=r"weights \(nan\) in 1 tensor: network\.conv1.*A step before was too large"
    ):
        fit(FiniteGuard(tmp_path, on_failure="skip"), [batch(1)], module)


@pytest.mark.parametrize("value", [torch.nan, 1e20])
def test_broken_weights_are_not_saved(value: float, tmp_path: Path) -> None:
    trainer = fit(FiniteGuard(tmp_path), [batch(1)])
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    with torch.no_grad():
        trainer.lightning_module.model.get_parameter("network.conv1.linear.weight")[0] = value
    with pytest.raises(
        InputError, match=r"step 1 is not saved, for these are not finite: weights .* in 1 tensor"
    ):
        trainer.save_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "bad.ckpt").exists()


def test_evaluation_names_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batches = loader([batch(1), batch(2, bad=1), batch(3, bad=4)])
    message = (
        r"evaluation of val is not finite: input \(nan\) of 2 images: val image 21, val image 34; then logits"
    )
    with pytest.raises(InputError, match=message):
        make_trainer(FiniteGuard(tmp_path)).validate(make_module(), batches, verbose=False)
    module = make_module()
    trainer = make_trainer(FiniteGuard(tmp_path, on_failure="skip"))
    trainer.test(module, batches, verbose=False)
    assert module.results["test/not_finite_images"] == 2
    assert trainer.callback_metrics["test/not_finite_images"] == 2
    assert "the evaluation of test is not finite" in caplog.text
    trainer.test(module, loader([batch(1)]), verbose=False)
    assert "test/not_finite_images" not in trainer.callback_metrics


@pytest.mark.parametrize("scale", [2.0**120, 2.0**-1])
def test_a_gradient_scaler_deals_with_overflow(scale: float, tmp_path: Path) -> None:
    """Float16 on a CPU, as Lightning does not offer it by name."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    guard = FiniteGuard(tmp_path)
    module = make_module(weight=0.5 if scale > 1 else 1e25)
    trainer = make_trainer(guard, plugins=[MixedPrecision("16-mixed", "cpu", scaler)], max_epochs=2)
    if scale > 1:
        trainer.fit(module, loader([batch(1)]))
        assert scaler.get_scale() == 2.0**118
        assert_same(trainer, trainer)
        assert not guard.path.exists()
    else:
        with pytest.raises(InputError, match=r"gradient \("):
            trainer.fit(module, loader([batch(1)]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_failure": "skp"}, "unknown callbacks.finite.on_failure 'skp'. Did you mean 'skip'"),
        ({"max_in_a_row": 0}, "callbacks.finite.max_in_a_row must be an integer, at least 1; got 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        FiniteGuard(tmp_path, **options)


def test_a_folder_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"input \(nan\)"):
        fit(FiniteGuard(tmp_path / "file"), [batch(1, bad=0)])


# Several processes ------------------------------------------------------------------------------------------


class OfRank:
    """Batches 1 and 2, 3 and 4, 5 and 6: one of each pair in each process. Of batch 4 an image is bad."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Batch]:
        for first in (1, 3, 5):
            number = first + dist.get_rank()
            yield batch(number, bad=2 if number == 4 else None)


def two_ranks() -> DDPStrategy:
    # Any other start method would let both processes train the same memory.
    return DDPStrategy(start_method="spawn", process_group_backend="gloo")


@pytest.mark.slow
def test_two_processes_stop_together(tmp_path: Path) -> None:
    guard = FiniteGuard(tmp_path)
    with pytest.raises(
        Exception, match=r"epoch 0, step 1: input \(nan\) of 1 image: train image 42, rank 1; then"
    ):
        fit(guard, OfRank(), devices=2, strategy=two_ranks())
    failure, _ = read_failure(guard.path)
    assert failure.batch.indices.tolist() == [*range(30, 35), *range(40, 45)]
    assert failure.ranks.tolist() == [0] * 5 + [1] * 5


@pytest.mark.slow
def test_two_processes_skip_together(tmp_path: Path) -> None:
    two, one = make_module().double(), make_module().double()
    guard = FiniteGuard(tmp_path, on_failure="skip")
    trainer = fit(guard, OfRank(), two, devices=2, strategy=two_ranks())
    assert trainer.callback_metrics["train/skipped_steps"] == 1
    fit(None, [joined_batches([batch(1), batch(2)]), joined_batches([batch(5), batch(6)])], one)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-7, atol=1e-9, msg=name)
