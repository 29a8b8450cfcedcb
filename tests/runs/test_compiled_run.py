"""Compiled steps of the training module and whole runs against the ordinary ones."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from guidance.attribution import BcosContributions, CompiledExplanations, InputXGradient
from guidance.data import Batch
from guidance.losses import EnergyLoss, MapSimilarityLoss
from guidance.models import bcos_small
from guidance.run_directory import comparable
from guidance.runs.baseline import baseline_config
from guidance.runs.run import train
from guidance.training.module import GuidedClassifier
from guidance.training.teacher import Teacher
from tests.commands import run_command
from tests.tiny import OVERRIDES, composed, results, tiny_config
from tests.training.test_module import make_batch, make_module

GUIDED: dict[str, Any] = {"localization": EnergyLoss(), "weight": 0.5}


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.compiler.reset()
    counters.clear()


def make_compiled(**options: Any) -> GuidedClassifier:
    """As a run makes it, but for the code that takes so long to make."""
    module = make_module(compiled_batch_size=5, **options)
    assert module.guided_step.compiled is not None
    module.guided_step.compiled = CompiledExplanations(module.attributor, 5, backend="aot_eager")
    return module.double()


def step(module: GuidedClassifier, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    module.on_before_batch_transfer(batch, 0)
    loss = module.training_step(batch, 0)
    return loss, list(torch.autograd.grad(loss, list(module.model.parameters()), materialize_grads=True))


def check_same_step(batch: Batch, **options: Any) -> GuidedClassifier:
    compiled, ordinary = make_compiled(**options), make_module(**options).double()
    loss, gradients = step(compiled, batch)
    expected, others = step(ordinary, batch)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))
    for (name, value), other in zip(
        compiled.state_dict().items(), ordinary.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, msg=name)
    return compiled


@pytest.mark.parametrize(
    "options",
    [
        GUIDED,
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"guided_classes": "absent", **GUIDED}, marks=pytest.mark.slow),
    ],
)
def test_training_step(options: dict[str, Any]) -> None:
    check_same_step(make_batch(), **options)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_batch_without_an_image_to_guide() -> None:
    check_same_step(replace(make_batch(), annotated=torch.zeros(5, dtype=torch.bool)), **GUIDED)


@pytest.mark.slow
def test_step_with_a_teacher() -> None:
    torch.manual_seed(1)
    teacher = Teacher(bcos_small(3, width=8), BcosContributions(), temperature=2.0)
    check_same_step(make_batch(), localization=MapSimilarityLoss(), weight=0.5, teacher=teacher)
    assert counters["stats"]["unique_graphs"] == 1


def test_batch_of_another_size_is_not_compiled() -> None:
    module, batch = make_compiled(**GUIDED), make_batch()
    module.guided_step.compiled = CompiledExplanations(module.attributor, 8, backend="aot_eager")
    loss, _ = step(module, batch)
    torch.testing.assert_close(loss, step(make_module(**GUIDED).double(), batch)[0], rtol=0, atol=0)
    assert not counters["stats"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guided_classes": "all", **GUIDED}, "it is for loss.classes=one and absent, not for all"),
        ({"attributor": InputXGradient(), **GUIDED}, "only attributor=bcos"),
    ],
)
def test_steps_that_are_not_compiled(
    options: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        module = check_same_step(make_batch(), **options)
        step(module, make_batch())
    assert [message in record.message for record in caplog.records] == [True]
    assert not counters["stats"]


def test_evaluation_step() -> None:
    compiled, ordinary = make_compiled().eval(), make_module().double().eval()
    for module in (compiled, ordinary):
        module._score(make_batch(), "val", module.val_metrics)
    values, expected = (module.val_metrics.compute(0.1)[0] for module in (compiled, ordinary))
    assert values == pytest.approx(expected, rel=1e-6)
    assert values["epg"] > 0
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize("option", ["compile", "cpu_kernels"])
def test_faster_runs_and_others_are_the_same_run(option: str, tmp_path: Path) -> None:
    plain, fast = (composed(tmp_path, f"trainer.{option}={value}") for value in ("false", "true"))
    assert comparable(plain) == comparable(fast)
    assert plain.trainer[option] != fast.trainer[option]
    one, other = (
        baseline_config(composed(tmp_path, "baseline=shared", f"trainer.{option}={value}"))
        for value in ("false", "true")
    )
    assert one.paths.output_dir == other.paths.output_dir


def check_same_runs(run: Path, other_run: Path) -> Iterable[str]:
    """Weights after 12 steps and results are those of another run; return the names of the weights."""
    one, other = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (run, other_run)
    )
    assert one["global_step"] == other["global_step"] == 12
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(value, other["state_dict"][name], rtol=1e-6, atol=1e-8, msg=name)
    of_one, of_other = results(run), results(other_run)
    for key in ("val/f1_micro", "val/epg", "test/epg", "test/iou"):
        assert of_one[key] == pytest.approx(of_other[key], abs=1e-6), key
    names: Iterable[str] = one["state_dict"].keys()
    return names


@pytest.mark.slow
def test_run_that_is_compiled_and_goes_on_without(tmp_path: Path) -> None:
    """A smaller batch at the end of an epoch compiles nothing anew, and checkpoints tell of nothing."""
    options = [
        "data.length={train: 43, val: 13, test: 11}",
        "trainer.precision=64-true",
        "test_front=false",
    ]
    fast, plain = tmp_path / "fast", tmp_path / "plain"
    train(tiny_config(fast, *options, "trainer.compile=true", "trainer.max_epochs=1"))
    assert counters["stats"]["unique_graphs"] == 3  # one of training, two of evaluation
    assert not counters["graph_break"]
    first = torch.load(fast / "checkpoints" / "last.ckpt", weights_only=True)
    train(tiny_config(fast, *options, "trainer.max_epochs=2", f"ckpt_path={fast}/checkpoints/last.ckpt"))
    train(tiny_config(plain, *options, "trainer.max_epochs=2"))
    assert first["state_dict"].keys() == check_same_runs(fast, plain)


@pytest.mark.parametrize(("images", "each", "told"), [(8, 4, 0), (9, 5, 1)])
def test_processes_share_the_images_of_a_step(
    images: int, each: int, told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If they cannot have the same number, the steps of training are not compiled, which is told."""
    module = make_module(compiled_batch_size=images)
    monkeypatch.setattr(type(module.trainer), "world_size", 2)
    with caplog.at_level(logging.WARNING):
        module.setup("fit")
    assert module.guided_step.compiled is not None
    assert module.guided_step.compiled.batch_size == each
    messages = [r.message for r in caplog.records if r.message.startswith("trainer.compile")]
    assert len(messages) == told
    assert all("data.batch_size=9 is no multiple of the 2 processes" in message for message in messages)


@pytest.mark.slow
def test_run_of_two_processes_that_is_compiled(tmp_path: Path) -> None:
    """The last batch of an epoch has 7 images, 3 and 4 of them; one of 4 must not be compiled alone."""
    options = [
        *OVERRIDES,
        "data.length={train: 47, val: 13, test: 11}",
        "trainer.precision=64-true",
        "test_front=false",
    ]
    two = ["trainer=ddp_cpu", "trainer.devices=2", "trainer.compile=true"]
    for name, more in (("two", two), ("one", ["trainer=cpu"])):
        run_dir = f"hydra.run.dir={tmp_path / name}"
        result = run_command("train.py", *options, *more, "trainer.max_epochs=2", run_dir, cwd=tmp_path)
        assert "without effect" not in result.stderr + result.stdout
    check_same_runs(tmp_path / "two", tmp_path / "one")
