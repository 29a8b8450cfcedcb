"""Closed forms against the plain formulas, twice, and with what is missing or zero."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from guidance.models.closed_forms import channel_products, squared_norm, unit_norm, variance_and_mean


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(3, 4, 5, 2), (1, 3, 1, 1), (0, 3, 4, 4)])
@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float64), (torch.float32, torch.bfloat16)])
def test_products_are_summed_over_images_and_positions(
    size: tuple[int, ...], dtypes: tuple[torch.dtype, torch.dtype], layout: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (
        (torch.randn(size, dtype=torch.float64, generator=generator) + 3).to(dtype, memory_format=layout)
        for dtype in dtypes
    )
    expected = (x.double() * y.double()).sum((0, 2, 3)).view(-1, 1, 1)
    with torch.no_grad():
        actual = channel_products(x, y)
    tolerance = 1e-5 if torch.float32 in dtypes else 1e-12
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


def test_sums_over_many_values_round_little() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 16, 112, 112, generator=generator).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        variance, mean = variance_and_mean(x)
        products = channel_products(x, x)[:, 0, 0]
    exact = x.double()
    expected = (exact.var((0, 2, 3), correction=0), exact.mean((0, 2, 3)), exact.square().sum((0, 2, 3)))
    for actual, of_exact in zip((variance, mean, products), expected, strict=True):
        torch.testing.assert_close(actual.double(), of_exact, rtol=5e-7, atol=0)


def test_sums_of_products_are_differentiated() -> None:
    x, y = torch.randn(2, 3, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(channel_products, (x, y))
    assert torch.autograd.gradgradcheck(channel_products, (x, y))


def test_zeros_have_finite_derivatives() -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss = squared_norm(x, 1).sum() + variance_and_mean(x)[0].sum()
    (of_x,) = torch.autograd.grad(loss, x, create_graph=True)
    assert not of_x.any()
    assert torch.autograd.grad(of_x.sum(), x)[0].isfinite().all()


def test_statistics_are_float32_at_least() -> None:
    x = torch.randn(2, 3, 4, 4).bfloat16()
    assert squared_norm(x, 1).dtype == variance_and_mean(x)[0].dtype == torch.float32
