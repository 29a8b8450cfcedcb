"""Closed forms against the plain formulas, twice, and with what is missing or zero."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from guidance.models import cpu_kernels
from guidance.models.closed_forms import scaled, squared_norm, unit_norm, variance_and_mean
from guidance.models.plain_formulas import plain_formulas


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


@pytest.mark.parametrize("plain", [False, True])
def test_units_of_filters_are_rounded_twice(plain: bool) -> None:
    """Once as norms and once as quotients: sums of squares are exact enough."""
    weight = torch.randn(512, 512, 3, 3, generator=torch.Generator().manual_seed(0))
    with plain_formulas() if plain else nullcontext():
        found = unit_norm(weight)
    exact = weight.double() / weight.double().square().sum((1, 2, 3), keepdim=True).sqrt()
    assert ((found.double() - exact).abs() <= torch.finfo(torch.float32).eps * exact.abs()).all()


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("shape", [(4, 1, 1), (3, 4, 1, 2), (2,), ()])
def test_scaled_equals_the_product_twice(shape: tuple[int, ...], kernels: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, factor = (
        torch.randn(size, dtype=torch.float64, generator=generator) for size in ((3, 4, 5, 2), shape)
    )
    x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    factor.requires_grad_()
    results = []
    for function in (scaled, torch.mul):
        with cpu_kernels(kernels):
            out = function(x, factor)
            first = torch.autograd.grad(out.sin().sum(), (x, factor), create_graph=True)
            second = torch.autograd.grad(first[0].sin().sum() + first[1].cos().sum(), (x, factor))
        results.append((out, *first, *second))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


def test_zeros_have_finite_derivatives() -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = squared_norm(x, 1).sum() + variance_and_mean(x)[0].sum()
    (of_x,) = torch.autograd.grad(loss, x, create_graph=True)
    assert not of_x.any()
    assert torch.autograd.grad(of_x.sum(), x)[0].isfinite().all()


def test_statistics_are_float32_at_least() -> None:
    x = torch.randn(2, 3, 4, 4).bfloat16()
    assert squared_norm(x, 1).dtype == variance_and_mean(x)[0].dtype == torch.float32
