"""One training step against the formula of the paper, written out image by image."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from guidance.attribution import Attributor, BcosContributions, GradCAM
from guidance.data import Batch
from guidance.errors import InputError
from guidance.guided_class import draw_guided_class
from guidance.losses import EnergyLoss, L1Loss
from guidance.models import bcos_small
from guidance.module import GuidedClassifier, Reduction
from tests.tiny import tiny_config

CLASSES = ("a", "b", "c")


def make_batch() -> Batch:
    """Five images: two boxes of one class, two classes, no label, a label without box, not annotated."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.bool)
    boxes = torch.tensor([[0, 0, 8, 8], [20, 20, 32, 32], [4, 4, 20, 30], [31, 31, 32, 32], [0, 0, 16, 16]])
    return Batch(
        images=torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=generator),
        labels=labels,
        boxes=boxes,
        box_images=torch.tensor([0, 0, 1, 1, 4]),
        box_classes=torch.tensor([0, 0, 0, 1, 1]),
        annotated=torch.tensor([True, True, True, True, False]),
        indices=torch.tensor([10, 11, 12, 13, 14]),
    )


def make_module(**options: Any) -> GuidedClassifier:
    torch.manual_seed(0)
    attributor: Attributor = options.pop("attributor", BcosContributions())
    module = GuidedClassifier(bcos_small(3, width=8), attributor, CLASSES, **options)
    module.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module


def slow_loss(
    module: GuidedClassifier, batch: Batch, loss: nn.Module, weight: float, reduction: str
) -> Tensor:
    """The loss of the paper in batch statistics (one forward), everything else image by image."""
    images = batch.images.double() / 255
    classes, _ = draw_guided_class(batch.guidable(), module.seed, 0, batch.indices)
    logits, activation = module.attributor.forward(module.model, images)
    maps = module.attributor.attribute(logits, activation, classes, create_graph=True)
    total = torch.zeros((), dtype=torch.float64)
    for n in range(len(batch)):
        for k in range(3):
            p = logits[n, k].sigmoid()
            total = total - (p.log() if batch.labels[n, k] else (1 - p).log()) / (len(batch) * 3)
    guided = []
    for n in range(len(batch)):
        mask = torch.zeros(32, 32, dtype=torch.bool)
        for (x0, y0, x1, y1), i, k in zip(
            batch.boxes.tolist(), batch.box_images, batch.box_classes, strict=True
        ):
            if i == n and k == classes[n]:
                mask[y0:y1, x0:x1] = True
        if batch.annotated[n] and mask.any():
            guided.append(loss(maps[n][None], mask[None])[0])
    assert len(guided) == 2
    return total + weight * sum(guided, torch.zeros(())) / (len(guided) if reduction == "mean" else 1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("attributor", [BcosContributions(), BcosContributions("mid2"), GradCAM("final")])
def test_training_step_equals_the_formula(reduction: Reduction, attributor: Attributor) -> None:
    batch = make_batch()
    options = {"localization": L1Loss(), "weight": 0.7, "reduction": reduction, "attributor": attributor}
    one, other = make_module(**options).double(), make_module(**options).double()
    one.on_before_batch_transfer(batch, 0)
    loss = one.training_step(batch, 0)
    expected = slow_loss(other, batch, L1Loss(), 0.7, reduction)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    loss.backward()
    expected.backward()
    for (name, p), q in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("options", [{}, {"localization": EnergyLoss(), "weight": 0.0}])
def test_unguided_step_makes_no_map(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = make_module(**options), make_batch()

    def refuse(*args: Any) -> None:
        raise AssertionError("an unguided step must not make a map")

    monkeypatch.setattr(module.attributor, "forward", refuse)
    module.on_before_batch_transfer(batch, 0)
    expected = nn.functional.binary_cross_entropy_with_logits(
        module.model(batch.images.float() / 255), batch.labels.float()
    )
    torch.testing.assert_close(module.training_step(batch, 0), expected)


def test_batch_without_annotation_makes_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = make_module(localization=EnergyLoss(), weight=1.0), make_batch()
    batch.annotated[:] = False
    monkeypatch.setattr(module.attributor, "forward", None)
    module.on_before_batch_transfer(batch, 0)
    assert torch.isfinite(module.training_step(batch, 0))


def test_evaluation_does_not_depend_on_the_training_loss() -> None:
    batch = make_batch()
    values = []
    for options in (
        {},
        {"localization": L1Loss(), "weight": 5.0},
        {"localization": EnergyLoss(), "weight": 1.0},
    ):
        module = make_module(**options).eval()
        module._score(batch, "val", module.val_metrics)
        values.append(module.val_metrics.compute(0.1)[0])
    assert values[0] == values[1] == values[2]
    assert values[0]["epg"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "loss.weight must be at least 0"),
        ({"weight": float("nan")}, "loss.weight must be at least 0"),
        ({"reduction": "men"}, r"unknown loss.reduction 'men'. Did you mean 'mean'"),
        ({"attributor": BcosContributions("mid9")}, "unknown layer 'mid9'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_module(**options)


def test_loss_that_is_not_finite_stops_the_run_and_saves_nothing() -> None:
    module, batch = make_module(), make_batch()
    with torch.no_grad():
        next(module.model.parameters()).fill_(float("nan"))
    module.on_before_batch_transfer(batch, 0)
    module.training_step(batch, 0)
    with pytest.raises(InputError, match=r"loss is not finite \(epoch 0, step 0"):
        module.on_train_batch_end(None, batch, 0)
    with pytest.raises(InputError, match="loss is not finite"):
        module.on_save_checkpoint({})


def test_sync_batchnorm_with_guidance_is_refused(tmp_path: Path) -> None:
    from guidance.run import train

    with pytest.raises(InputError, match="sync_batchnorm has no double backward"):
        train(tiny_config(tmp_path, "+trainer.sync_batchnorm=true"))


def test_bf16_step_is_close_to_float32() -> None:
    batch = make_batch()
    exact, half = (make_module(localization=EnergyLoss(), weight=0.5) for _ in range(2))
    loss = exact.training_step(batch, 0)
    with torch.autocast("cpu", torch.bfloat16):
        half_loss = half.training_step(batch, 0)
    assert half_loss.dtype == torch.float32
    assert half_loss.item() == pytest.approx(loss.item(), rel=0.02)
    half_loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in half.model.parameters() if p.grad is not None)
