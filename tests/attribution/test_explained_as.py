"""What an explanation and any other backward pass see of a value that stands for another."""

import pytest
import torch

from guidance.attribution.explained_as import explained_as
from guidance.models.dynamic_factors import explanation_backward


def test_only_an_explanation_goes_through_the_surrogate() -> None:
    x = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64, requires_grad=True)
    value, surrogate = 2 * x, 5 * x
    out = explained_as(value, surrogate, epsilon=0.5)
    torch.testing.assert_close(out, value)
    (gradient,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    torch.testing.assert_close(gradient, torch.full_like(x, 2))
    with explanation_backward():
        (explained,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(explained, 5 * torch.tensor([6 / 15.5, 4 / 10.5, 0], dtype=torch.float64))


@pytest.mark.parametrize("constant", [True, False])
def test_a_loss_of_the_explanation_goes_through_the_factor_unless_it_is_constant(constant: bool) -> None:
    x = torch.tensor([3.0, -2.0, 0.4], dtype=torch.float64, requires_grad=True)
    value, surrogate = x.sinh(), x.sinh() + x
    out = explained_as(value, surrogate, 0.5, constant)
    with explanation_backward():
        (explained,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    (gradient,) = torch.autograd.grad(explained.sum(), x)
    again = x.detach().clone().requires_grad_()
    factor = again.sinh().abs() / ((again.sinh() + again).abs() + 0.5)
    factor = factor.detach() if constant else factor
    expected = 2 * again.sinh() * factor * (again.cosh() + 1)
    torch.testing.assert_close(explained, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), again)[0])


def test_may_be_written_to() -> None:
    x = torch.tensor([3.0, -2.0], dtype=torch.float64, requires_grad=True)
    value = 2 * x
    explained_as(value, value, 1.0).relu_().mul_(7)
    torch.testing.assert_close(value.detach(), torch.tensor([6.0, -4.0], dtype=torch.float64))
    out = explained_as(value, value, 1.0).relu_()
    with explanation_backward():
        (explained,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(explained, torch.tensor([2 * 6 / 7, 0], dtype=torch.float64))
