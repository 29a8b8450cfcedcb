"""bf16-mixed: what stays in float32, and how far maps and gradients of trained weights move."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from guidance.attribution import BcosContributions
from guidance.losses import EnergyLoss
from guidance.models.bcos_layers import BcosConv2d, UncenteredBatchNorm2d
from guidance.models.bcos_linear import BcosLinear
from guidance.models.bcos_norm import BiasFreeLayerNorm
from guidance.models.factor_tape import FactorTape
from guidance.training.module import GuidedClassifier
from tests.training.test_module import make_batch, make_module


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (BcosConv2d(4, 6, 3, padding=1), (2, 4, 5, 5)),
        (BcosConv2d(4, 6, 3, padding=1, groups=2, b=1.5), (2, 4, 5, 5)),
        (UncenteredBatchNorm2d(4), (2, 4, 5, 5)),
        (BcosLinear(4, 6), (2, 3, 4)),
        (BiasFreeLayerNorm(4), (2, 3, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scales_and_norms_are_float32_under_autocast(
    layer: nn.Module, size: tuple[int, ...], dtype: torch.dtype
) -> None:
    tape = FactorTape()
    with torch.autocast("cpu", torch.bfloat16), tape.record():
        out = layer(torch.randn(size).to(dtype))
    assert out.dtype == torch.float32
    factors = [factor if isinstance(factor, Tensor) else factor.whole for factor in tape._factors]
    assert factors
    assert {factor.dtype for factor in factors} == {torch.float32}


@pytest.fixture(scope="module")
def trained() -> GuidedClassifier:
    """A network that a few steps have moved away from its random weights."""
    module, batch = make_module(localization=EnergyLoss(), weight=1.0), make_batch()
    module.on_before_batch_transfer(batch, 0)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    return module


def test_maps_of_trained_weights_are_close(trained: GuidedClassifier) -> None:
    """Loosely: benchmarks/precision.py measures 1 % on the embedded data, and 5.6 % at worst."""
    model = copy.deepcopy(trained.model).eval()
    attributor, images = BcosContributions(), make_batch().images.float() / 255
    maps = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            maps.append(
                attributor.attribute(attributor.forward(model, images), torch.tensor([0, 1, 2, 0, 1]))
            )
    exact, rounded = (each.flatten(1) for each in maps)
    errors = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert errors.max() < 0.15
    assert errors.max() > 0, "autocast did nothing"


def test_gradients_of_trained_weights_are_close(trained: GuidedClassifier) -> None:
    """Loosely: benchmarks/precision.py measures cosines from 0.9997 on for the localization loss alone."""
    # Other images than those it was trained on, whose gradient is small and the rounding's not.
    images = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    batch = replace(make_batch(), images=images.to(torch.uint8))
    gradients = []
    for half in (False, True):
        trained.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = trained.training_step(batch, 0)
        loss.backward()
        parameters = trained.model.parameters()
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    exact, rounded = gradients
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.97
    assert not torch.equal(exact, rounded)
