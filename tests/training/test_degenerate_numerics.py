"""Degenerate input gives a finite loss and gradient, or what the guard stops at; never a silent nan."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guidance.attribution import BcosContributions
from guidance.data import Batch
from guidance.losses import (
    AbsentEvidenceLoss,
    EnergyLoss,
    L1Loss,
    MapSimilarityLoss,
    PPCELoss,
    RESLoss,
    RRRLoss,
    SoftMaskLoss,
)
from guidance.maps import energy_in_mask
from guidance.models import bcos_small
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.bcos_linear import BcosLinear
from guidance.models.bcos_norm import BiasFreeImageNorm2d, BiasFreePositionNorm2d
from guidance.training.finding import Finding, findings_of, gradient_finding, weights_finding
from guidance.training.guided_step import cross_entropy
from guidance.training.module import GuidedClassifier
from tests.training.test_module import CLASSES, make_batch

LOSSES = [EnergyLoss(), L1Loss(), PPCELoss(), RRRLoss(), RESLoss(), SoftMaskLoss(EnergyLoss())]
Scored = Callable[[Tensor, Tensor], Tensor]
SCORED: list[Scored] = [
    *LOSSES,
    energy_in_mask,
    lambda maps, _: AbsentEvidenceLoss()(maps),
    lambda maps, masks: MapSimilarityLoss()(maps, masks.to(maps.dtype)),
]


@pytest.mark.parametrize("score", SCORED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_finite_map_is_scored(score: Scored, dtype: torch.dtype) -> None:
    """Zero, denormal, huge; constant, one pixel, both signs; of one pixel; against a box of one pixel."""
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 0, 0] = True
    for value in (0.0, 1e-45, 1e-20, 1e-11, 1.0, 1e19, 3e38, -3e38):
        for size in (1, 4):
            constant = torch.full((2, size, size), value, dtype=dtype)
            spike = constant * (torch.arange(size * size) == 0).view(size, size)
            signs = constant * torch.linspace(-1, 1, size * size, dtype=dtype).view(size, size)
            for maps in (constant, spike, signs):
                maps.requires_grad_()
                scores = score(maps, masks)
                (gradient,) = torch.autograd.grad(scores.sum(), maps)
                assert torch.isfinite(scores).all(), (value, size)
                assert torch.isfinite(gradient).all(), (value, size)
                if value == 0:
                    assert not gradient.any()


@pytest.mark.parametrize("value", [1e4, -1e4, 1e37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_saturated_sigmoid(value: float, dtype: torch.dtype) -> None:
    logits = torch.full((2, 2), value, dtype=dtype, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([[True, False], [True, True]]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    wrong = 1 if value > 0 else 3
    assert loss.sum().item() == pytest.approx(wrong * abs(value) / 2, rel=0.01)
    assert gradient.abs().sum().item() == wrong / 2


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Sequential(BcosConv2d(6, 4, 3, padding=1), UncenteredBatchNorm2d(4)), (2, 6, 5, 5)),
        (BcosConv2d(4, 4, 2, groups=2, b=1.7), (2, 4, 3, 3)),
        (BcosLinear(5, 3), (2, 7, 5)),
        (BiasFreePositionNorm2d(4), (2, 4, 3, 3)),
        (BiasFreeImageNorm2d(4), (2, 4, 3, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_of_zeros_are_twice_differentiable(
    layer: nn.Module, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    layer.to(dtype).train().zero_grad()
    x = torch.zeros(shape, dtype=dtype, requires_grad=True)
    out = layer(x)
    (gradient,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (gradient.square().sum() + out.sum()).backward()
    assert not out.any()
    assert x.grad is not None
    found = [gradient, x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]
    assert all(torch.isfinite(one).all() for one in found)


def one_pixel(batch: Batch) -> Batch:
    """Every box becomes its upper left pixel."""
    return replace(batch, boxes=torch.cat([batch.boxes[:, :2], batch.boxes[:, :2] + 1], dim=1))


def make_module(localization: nn.Module, layer: str = "input", weight: float = 1.0) -> GuidedClassifier:
    torch.manual_seed(0)
    attributor = BcosContributions(layer)
    return GuidedClassifier(
        bcos_small(3, width=4), attributor, CLASSES, localization=localization, weight=weight
    )


def step(
    module: GuidedClassifier, batch: Batch, autocast: torch.dtype | None = None
) -> tuple[Tensor, list[Finding]]:
    """Return the loss of a step and what the guard would find."""
    module.train().zero_grad()
    plan = module.guided_step.plan(batch)
    ends = [weights_finding(module.model)]
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        losses, record = module.guided_step.losses(module.model, batch, plan, epoch=0)
    losses["loss"].backward()
    ends.append(gradient_finding(module.model))
    return losses["loss"].detach(), [
        one for one in (ends[0], *findings_of(record), ends[1]) if one is not None
    ]


@pytest.mark.parametrize("localization", LOSSES)
@pytest.mark.parametrize("pixel", [0, 255])
def test_constant_images_and_boxes_of_one_pixel(localization: nn.Module, pixel: int) -> None:
    batch = one_pixel(replace(make_batch(), images=torch.full((5, 3, 32, 32), pixel, dtype=torch.uint8)))
    loss, found = step(make_module(localization), batch)
    assert torch.isfinite(loss)
    assert found == []


@pytest.mark.parametrize("localization", LOSSES)
def test_a_map_of_one_pixel(localization: nn.Module) -> None:
    batch = one_pixel(make_batch())
    batch.images = batch.images[..., :8, :8]
    batch.boxes = batch.boxes.clamp(max=8)
    batch.boxes[:, :2] = batch.boxes[:, 2:] - 1
    module = make_module(localization, "final")
    forward = module.attributor.forward(module.model, batch.images.float())
    assert module.attributor.attribute(forward, torch.zeros(5, dtype=torch.int64)).shape == (5, 1, 1)
    loss, found = step(module, batch)
    assert torch.isfinite(loss)
    assert found == []


@pytest.mark.parametrize("pixel", [None, 0])
def test_derivatives_of_a_degenerate_step(pixel: int | None) -> None:
    """Along a random direction, against central differences, in float64."""
    batch = one_pixel(make_batch())
    if pixel is not None:
        batch.images = torch.full_like(batch.images, pixel)
    module = make_module(EnergyLoss()).double()
    _, found = step(module, batch)
    assert found == []
    generator = torch.Generator().manual_seed(3)
    parameters = list(module.model.parameters())
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum(
        float((p.grad * d).sum()) for p, d in zip(parameters, direction, strict=True) if p.grad is not None
    )
    ends = []
    for length in (1e-6, -2e-6):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(length * d)
        ends.append(float(step(module, batch)[0]))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("scale", "first"),
    [(1e10, None), (1e-20, None), (1e20, ("weights", "too large")), (1e38, ("weights", "too large"))],
)
def test_huge_and_tiny_weights(scale: float, first: tuple[str, str] | None) -> None:
    module = make_module(EnergyLoss())
    with torch.no_grad():
        for parameter in module.model.parameters():
            parameter.mul_(scale)
    loss, found = step(module, make_batch())
    if first is None:
        assert torch.isfinite(loss)
        assert found == []
    else:
        assert (found[0].what, found[0].kind) == first


@pytest.mark.parametrize(
    ("dtype", "scale", "first"),
    [
        (torch.bfloat16, 1e18, None),
        (torch.bfloat16, 1e19, ("weights", "too large")),
        (torch.float16, 1e3, None),
        (torch.float16, 1e4, ("logits", "nan")),
    ],
)
def test_overflow_of_half_precision(dtype: torch.dtype, scale: float, first: tuple[str, str] | None) -> None:
    module = make_module(EnergyLoss())
    with torch.no_grad():
        for name, parameter in module.model.named_parameters():
            if "bn" in name:
                parameter.mul_(scale)
    loss, found = step(module, make_batch(), autocast=dtype)
    if first is None:
        assert torch.isfinite(loss)
        assert found == []
    else:
        assert (found[0].what, found[0].kind) == first


@pytest.mark.parametrize(("weight", "what"), [(1e30, "gradient"), (1e39, "loss")])
def test_a_huge_weight_of_the_loss(weight: float, what: str) -> None:
    options: dict[str, Any] = {"weight": weight}
    _, found = step(make_module(EnergyLoss(), **options), make_batch())
    assert found[0].what == what
