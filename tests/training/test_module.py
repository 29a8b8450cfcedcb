"""One training step against the formula of the paper, written out image by image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from guidance.attribution import Attributor, BcosContributions, GradCAM
from guidance.data import Batch
from guidance.data.batch import Target
from guidance.errors import InputError
from guidance.losses import EnergyLoss, L1Loss, MapSimilarityLoss
from guidance.models import bcos_small
from guidance.training.guidance_rounds import GuidedClasses
from guidance.training.guided_class import draw_guided_class
from guidance.training.guided_step import Reduction
from guidance.training.module import GuidedClassifier
from guidance.training.teacher import Teacher
from tests.tiny import tiny_config

CLASSES = ("a", "b", "c")


def make_batch() -> Batch:
    """Five images: two boxes of one class, two classes, no label, a label without box, not annotated.

    Two have masks: rows 3 to 5 of the first for class 0, one pixel of the third, which has no label.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=torch.bool)
    boxes = torch.tensor([[0, 0, 8, 8], [20, 20, 32, 32], [4, 4, 20, 30], [31, 31, 32, 32], [0, 0, 16, 16]])
    return Batch(
        images=torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=generator),
        labels=labels,
        boxes=boxes,
        box_images=torch.tensor([0, 0, 1, 1, 4]),
        box_classes=torch.tensor([0, 0, 0, 1, 1]),
        runs=torch.tensor([[96, 192], [0, 1]]),
        run_images=torch.tensor([0, 2]),
        run_classes=torch.tensor([0, 1]),
        annotated=torch.tensor([True, True, True, True, False]),
        outside=torch.zeros(5, dtype=torch.bool),
        groups=torch.tensor([0, 1, 1, -1, 0]),
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
    forward = module.attributor.forward(module.model, images)
    logits = forward.logits
    maps = module.attributor.attribute(forward, classes, create_graph=True)
    total = torch.zeros((), dtype=torch.float64)
    for n in range(len(batch)):
        for k in range(3):
            p = logits[n, k].sigmoid()
            total = total - (p.log() if batch.labels[n, k] else (1 - p).log()) / (len(batch) * 3)
    guided = []
    for n in range(len(batch)):
        mask = torch.zeros(32, 32, dtype=torch.bool)
        if batch.target == "mask":
            mask[3:6] = n == 0
        for (x0, y0, x1, y1), i, k in zip(
            batch.boxes.tolist(), batch.box_images, batch.box_classes, strict=True
        ):
            if i == n and k == classes[n] and batch.target == "box":
                mask[y0:y1, x0:x1] = True
        if mask.any() and batch.outside[n]:
            mask = ~mask
        if batch.annotated[n] and mask.any():
            guided.append(loss(maps[n][None], mask[None])[0])
    assert len(guided) == (2 if batch.target == "box" else 1)
    return total + weight * sum(guided, torch.zeros(())) / (len(guided) if reduction == "mean" else 1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("attributor", [BcosContributions(), BcosContributions("mid2"), GradCAM("final")])
def test_training_step_equals_the_formula(reduction: Reduction, attributor: Attributor) -> None:
    _compare_with_the_formula(make_batch(), reduction, attributor)


@pytest.mark.parametrize("target", ["box", "mask"])
@pytest.mark.parametrize("outside", [False, True])
def test_masks_and_the_outside_as_targets(target: Target, outside: bool) -> None:
    batch = replace(make_batch(), target=target, outside=torch.full((5,), outside))
    _compare_with_the_formula(batch, "mean", BcosContributions())


def _compare_with_the_formula(batch: Batch, reduction: Reduction, attributor: Attributor) -> None:
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


def test_guiding_all_classes_is_the_mean_over_all_guidable_pairs() -> None:
    batch = make_batch()
    options = {"localization": L1Loss(), "weight": 0.7}
    module = make_module(guided_classes="all", **options).double()
    other = make_module(**options).double()
    module.on_before_batch_transfer(batch, 0)
    assert module.guided_step.plan(batch).rounds == 2
    loss = module.training_step(batch, 0)

    images, classes = batch.guidable().nonzero(as_tuple=True)
    forward = other.attributor.forward(other.model, batch.images.double() / 255)
    losses = []
    for image, k in zip(images, classes, strict=True):
        maps = other.attributor.attribute(forward, k.expand(5), create_graph=True)
        losses.append(L1Loss()(maps[image][None], batch.masks(image[None], k[None]))[0])
    assert len(losses) == 3
    entropy = nn.functional.binary_cross_entropy_with_logits(forward.logits, batch.labels.double())
    expected = entropy + 0.7 * sum(losses, torch.zeros(())) / 3
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for p, q in zip(module.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_absent_classes_are_pushed_down() -> None:
    batch = make_batch()
    options = {"localization": EnergyLoss(), "weight": 0.5}
    module = make_module(guided_classes="absent", **options).double()
    other = make_module(**options).double()
    module.on_before_batch_transfer(batch, 0)
    loss = module.training_step(batch, 0)
    plain = other.training_step(batch, 0)

    absent = ~batch.labels & batch.annotated[:, None]
    drawn, guided = draw_guided_class(absent, module.seed + 0x5EED, 0, batch.indices)
    assert guided.tolist() == [True, True, True, True, False]
    forward = other.attributor.forward(other.model, batch.images.double() / 255)
    maps = other.attributor.attribute(forward, drawn)[guided]
    shares = maps.clamp(min=0).sum((1, 2)) / maps.abs().sum((1, 2))
    torch.testing.assert_close(loss, plain + 0.5 * shares.mean())


@pytest.mark.parametrize("temperature", [None, 2.0])
def test_a_teacher_s_maps_take_the_place_of_masks(temperature: float | None) -> None:
    batch = make_batch()
    torch.manual_seed(9)
    teacher = Teacher(bcos_small(3, width=8), GradCAM("mid2", relu=False), temperature)
    options = {"localization": MapSimilarityLoss(), "weight": 0.3}
    module = make_module(teacher=teacher, **options).double()
    other = make_module().double()
    names = set(dict(module.named_parameters()))
    assert names == set(dict(other.named_parameters()))
    module.on_before_batch_transfer(batch, 0)
    loss = module.training_step(batch, 0)

    images = batch.images.double() / 255
    taught = teacher.attributor.forward(teacher.model, images)
    predicted = taught.logits.argmax(1)
    targets = teacher.attributor.attribute(taught, predicted)
    forward = other.attributor.forward(other.model, images)
    maps = other.attributor.attribute(forward, predicted)
    wide = nn.functional.interpolate(targets[:, None], maps.shape[1:], mode="bilinear")[:, 0]
    similarity = nn.functional.cosine_similarity(maps.flatten(1), wide.flatten(1)).mean()
    if temperature is None:
        first = nn.functional.binary_cross_entropy_with_logits(other.model(images), batch.labels.double())
    else:
        p, q = (taught.logits.detach() / 2).sigmoid(), (other.model(images) / 2).sigmoid()
        first = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    torch.testing.assert_close(loss, first + 0.3 * (1 - similarity))


def test_a_teacher_and_its_loss_go_together() -> None:
    teacher = Teacher(bcos_small(3, width=8), BcosContributions())
    for options in ({"localization": MapSimilarityLoss()}, {"localization": L1Loss(), "teacher": teacher}):
        with pytest.raises(InputError, match=r"loss\.teacher\) goes with a map-to-map loss"):
            make_module(weight=1.0, **options)
    with pytest.raises(InputError, match=r"loss\.teacher\.temperature is 0"):
        Teacher(bcos_small(3, width=8), BcosContributions(), temperature=0)


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


@pytest.mark.parametrize(("guided_classes", "explained"), [("one", [2]), ("all", [2, 2]), ("absent", [3, 3])])
def test_only_guided_images_are_explained(
    guided_classes: GuidedClasses, explained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    batch.annotated[2] = False
    module = make_module(localization=EnergyLoss(), weight=1.0, guided_classes=guided_classes)
    sizes: list[int] = []
    attribute = module.attributor.attribute

    def spy(*args: Any, **options: Any) -> torch.Tensor:
        maps = attribute(*args, **options)
        sizes.append(len(maps))
        return maps

    monkeypatch.setattr(module.attributor, "attribute", spy)
    module.on_before_batch_transfer(batch, 0)
    module.training_step(batch, 0)
    assert sizes == explained


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


def test_accuracy_and_on_object_epg_are_reported_where_they_apply() -> None:
    batch = replace(make_batch(), labels=nn.functional.one_hot(torch.tensor([0, 0, 1, 2, 1]), 3).bool())
    module = make_module(multi_label=False, groups=("x", "y"), has_masks=True).eval()
    module._score(batch, "test", module.test_metrics)
    values, _ = module.test_metrics.compute(0.1)
    hits = module.model(batch.images.float() / 255).argmax(1) == torch.tensor([0, 0, 1, 2, 1])
    assert values["accuracy"] == pytest.approx(float(hits.float().mean()))
    groups = [float(hits[[0, 4]].float().mean()), float(hits[[1, 2]].float().mean())]
    assert [values["accuracy/x"], values["accuracy/y"]] == pytest.approx(groups)
    assert values["worst_group_accuracy"] == pytest.approx(min(groups))
    # Image 0 alone has boxes and a mask of one class.
    forward = module.attributor.forward(module.model, batch.images[:1].float() / 255)
    energy = module.attributor.attribute(forward, torch.tensor([0]))[0].clamp(min=0)
    inside = energy[:8, :8].sum() + energy[20:, 20:].sum()
    assert values["on_object_epg"] == pytest.approx(float(energy[3:6, :8].sum() / inside), rel=1e-4)
    plain = make_module().eval()
    plain._score(batch, "test", plain.test_metrics)
    assert not {"accuracy", "on_object_epg"} & set(plain.test_metrics.compute(0.1)[0])


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


def test_sync_batchnorm_with_guidance_is_refused(tmp_path: Path) -> None:
    from guidance.runs.run import train

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
