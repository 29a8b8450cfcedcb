"""Closed forms against the plain formulas, twice, and with what is missing or zero."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from guidance.models.closed_forms import squared_norm, unit_norm, variance_and_mean


def _variance_and_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
    return variance, mean


FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "unit_norm": (unit_norm, lambda x: x / x.square().sum((1, 2, 3), keepdim=True).sqrt()),
    "squared_norm": (lambda x: squared_norm(x, 1), lambda x: x.square().sum(1, keepdim=True)),
    "variance_and_mean": (variance_and_mean, _variance_and_mean),
    "variance": (lambda x: variance_and_mean(x)[0], lambda x: _variance_and_mean(x)[0]),
    "mean": (lambda x: variance_and_mean(x)[1], lambda x: _variance_and_mean(x)[1]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_equals_the_formula_twice(name: str) -> None:
    x = torch.randn(3, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (x + 1).requires_grad_()
    results = []
    for function in FORMULAS[name]:
        out = function(x)
        outs = out if isinstance(out, tuple) else (out,)
        (of_x,) = torch.autograd.grad(torch.stack([o.sin().sum() for o in outs]).sum(), x, create_graph=True)
        results.append((*outs, of_x, *torch.autograd.grad(of_x.sin().sum(), x)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


def test_sums_over_many_values_round_little() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 16, 112, 112, generator=generator).contiguous(memory_format=torch.channels_last)
    exact = x.double()
    expected = exact.var((0, 2, 3), correction=0), exact.mean((0, 2, 3))
    for actual, of_exact in zip(variance_and_mean(x), expected, strict=True):
        torch.testing.assert_close(actual.double(), of_exact, rtol=5e-7, atol=0)


def test_zeros_have_finite_derivatives() -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = squared_norm(x, 1).sum() + variance_and_mean(x)[0].sum()
    (of_x,) = torch.autograd.grad(loss, x, create_graph=True)
    assert not of_x.any()
    assert torch.autograd.grad(of_x.sum(), x)[0].isfinite().all()


def test_statistics_are_float32_at_least() -> None:
    x = torch.randn(2, 3, 4, 4).bfloat16()
    assert squared_norm(x, 1).dtype == variance_and_mean(x)[0].dtype == torch.float32
