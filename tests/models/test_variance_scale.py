"""Batch norm's scale against its formula: twice, in explanations, and by a loss on the factor alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from guidance.models.dynamic_factors import dynamic_scale, explanation_backward
from guidance.models.variance_scale import variance_scale

EPS = 1e-3
Scale = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]]


def formula(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """By operations of torch alone, but for what an explanation holds constant."""
    variance = x.var((0, 2, 3), correction=0)
    factor = (weight / (variance + eps).sqrt())[:, None, None]
    return dynamic_scale(x, factor), factor, variance


def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 5, 2, dtype=torch.float64, generator=generator) * 2 + 1
    weight = torch.rand(3, dtype=torch.float64, generator=generator) + 0.5
    return x.requires_grad_(), weight.requires_grad_()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "both": lambda scaled, factor: scaled.sin().sum() + factor.cos().sum(),
    "scaled": lambda scaled, factor: scaled.sin().sum(),
    "factor": lambda scaled, factor: factor.cos().sum(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_equals_the_formula_twice(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    results = []
    for function in (variance_scale, formula):
        x, weight = drawn()
        scaled, factor, variance = function(x, weight, EPS)
        once = torch.autograd.grad(loss(scaled, factor), (x, weight), retain_graph=True)
        first = torch.autograd.grad(loss(scaled, factor), (x, weight), create_graph=True)
        second = torch.autograd.grad(first[0].sin().sum() + first[1].cos().sum(), (x, weight))
        results.append((scaled, factor, variance, *once, *first, *second))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("of_logits", [True, False], ids=["both losses", "only that on the explanation"])
def test_an_explanation_holds_the_factor_and_a_loss_on_it_reaches_it(of_logits: bool) -> None:
    results = []
    for function in (variance_scale, formula):
        x, weight = drawn()
        scaled, factor, _ = function(x, weight, EPS)
        with explanation_backward():
            (weights,) = torch.autograd.grad(scaled.sin().sum(), x, create_graph=True)
        torch.testing.assert_close(weights, scaled.cos() * factor)
        loss = weights.square().sum() + (scaled.cos().sum() if of_logits else 0)
        results.append(torch.autograd.grad(loss, (x, weight)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("function", [variance_scale, formula])
def test_a_channel_of_equal_values(function: Scale) -> None:
    x = torch.full((2, 1, 2, 2), 3.0, dtype=torch.float64, requires_grad=True)
    scaled, _, variance = function(x, torch.ones(1, dtype=torch.float64), EPS)
    assert not variance.any()
    torch.testing.assert_close(scaled, x / EPS**0.5)
    (of_x,) = torch.autograd.grad(scaled.sum(), x)
    torch.testing.assert_close(of_x, torch.full_like(x, EPS**-0.5))


def test_half_precision_is_scaled_in_float32() -> None:
    x, weight = (each.detach().float() for each in drawn())
    half = x.bfloat16().requires_grad_()
    scaled, factor, variance = variance_scale(half, weight, EPS)
    assert scaled.dtype == factor.dtype == variance.dtype == torch.float32
    (of_half,) = torch.autograd.grad(scaled.square().sum(), half)
    exact = half.detach().float().requires_grad_()
    (of_exact,) = torch.autograd.grad(formula(exact, weight, EPS)[0].square().sum(), exact)
    torch.testing.assert_close(of_half.float(), of_exact, rtol=1e-2, atol=1e-2)


def test_gradients_over_many_values_round_little() -> None:
    generator = torch.Generator().manual_seed(0)
    x, gradient = torch.rand(2, 8, 16, 112, 112, generator=generator)
    results = []
    for dtype in (torch.float32, torch.float64):
        of_type = x.to(dtype, memory_format=torch.channels_last).requires_grad_()
        weight = torch.ones(16, dtype=dtype, requires_grad=True)
        scaled, *_ = variance_scale(of_type, weight, EPS)
        results.append(torch.autograd.grad(scaled, (of_type, weight), gradient.to(scaled)))
    for actual, exact in zip(*results, strict=True):
        torch.testing.assert_close(actual.double(), exact, rtol=0, atol=1e-6 * float(exact.abs().max()))
