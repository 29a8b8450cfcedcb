"""Norms without a bias against the package ``bcos`` and a reference that needs no custom backward."""

from typing import Any

import pytest
import torch
from bcos.modules.norms import (
    DetachableGNLayerNorm2d,
    DetachableLayerNorm,
    DetachablePositionNorm2d,
    NoBias,
)

from guidance.models.bcos_norm import BiasFreeImageNorm2d, BiasFreeLayerNorm, BiasFreePositionNorm2d
from guidance.models.dynamic_factors import explanation_backward

NORMS = [
    (BiasFreeLayerNorm, DetachableLayerNorm, (2, 5, 4), (-1,), (4,)),
    (BiasFreePositionNorm2d, DetachablePositionNorm2d, (2, 4, 3, 2), (1,), (4, 1, 1)),
    (BiasFreeImageNorm2d, DetachableGNLayerNorm2d, (2, 4, 3, 2), (1, 2, 3), (4, 1, 1)),
]
norms = pytest.mark.parametrize(("cls", "package", "shape", "dimensions", "per_channel"), NORMS)


def filled(cls: Any) -> Any:
    torch.manual_seed(0)
    norm = cls(4).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
    return norm


@norms
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_equals_the_package_and_its_explanation(
    cls: Any, package: Any, shape: tuple[int, ...], dimensions: Any, per_channel: Any, eps: float
) -> None:
    ours = filled(cls)
    ours.eps = eps
    theirs = NoBias(package)(4, eps=eps).double()
    theirs.load_state_dict(ours.state_dict())
    x = (torch.randn(shape, dtype=torch.float64) * 2 + 1).requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x))
    theirs.set_explanation_mode(True)
    (expected,) = torch.autograd.grad(theirs(x).sin().sum(), x)
    with explanation_backward():
        (actual,) = torch.autograd.grad(ours(x).sin().sum(), x)
    torch.testing.assert_close(actual, expected)
    (plain,) = torch.autograd.grad(ours(x).sin().sum(), x)
    assert (plain - actual).abs().max() > 0.01  # the factor has a gradient, outside explanations


@norms
def test_a_loss_of_the_explanation_reaches_the_factor(
    cls: Any, package: Any, shape: tuple[int, ...], dimensions: Any, per_channel: Any
) -> None:
    """W(x), written out: with y = sum of v * out, ``dy/dx = (v * weight - mean(v * weight)) / std``."""
    ours = filled(cls)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    v = torch.randn(shape, dtype=torch.float64)
    with explanation_backward():
        (w,) = torch.autograd.grad((ours(x) * v).sum(), x, create_graph=True)
    weighted = v * ours.weight.view(per_channel)
    variance = ((x - x.mean(dimensions, keepdim=True)) ** 2).mean(dimensions, keepdim=True)
    expected = (weighted - weighted.mean(dimensions, keepdim=True)) / (variance + ours.eps) ** 0.5
    torch.testing.assert_close(w, expected)
    of_ours = torch.autograd.grad(w.sin().sum(), [x, ours.weight])
    of_expected = torch.autograd.grad(expected.sin().sum(), [x, ours.weight])
    torch.testing.assert_close(of_ours, of_expected)
    assert of_ours[0].abs().max() > 1e-3


@norms
def test_gradcheck(cls: Any, package: Any, shape: tuple[int, ...], dimensions: Any, per_channel: Any) -> None:
    ours = filled(cls)
    x = torch.randn(shape, dtype=torch.float64)[:1].requires_grad_()
    assert torch.autograd.gradcheck(ours, (x,))
    assert torch.autograd.gradgradcheck(ours, (x,))


@norms
def test_equal_values_become_zeros_with_finite_gradients(
    cls: Any, package: Any, shape: tuple[int, ...], dimensions: Any, per_channel: Any
) -> None:
    ours = filled(cls).float()
    x = torch.full(shape, 3.0, requires_grad=True)
    assert torch.equal(ours(x), torch.zeros(shape))
    with explanation_backward():
        (w,) = torch.autograd.grad(ours(x)[0].sin().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(w.square().sum(), x)
    assert torch.isfinite(w).all()
    assert torch.isfinite(second).all()


@norms
def test_half_precision_is_normalised_in_single(
    cls: Any, package: Any, shape: tuple[int, ...], dimensions: Any, per_channel: Any
) -> None:
    ours = filled(cls).float()
    x = torch.randn(shape).bfloat16()
    assert ours(x).dtype == torch.float32
    torch.testing.assert_close(ours(x), ours(x.float()))
