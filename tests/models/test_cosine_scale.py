"""The B-cos transform against its formula, twice, in explanations, and by rows from a tape."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from guidance.models.cosine_scale import cosine_scale
from guidance.models.dynamic_factors import dynamic_scale, explanation_backward
from guidance.models.factor_tape import FactorTape, recorded

ROWS = torch.tensor([2, 0, 2])
Norm = Callable[[Tensor], Tensor]

NORMS: dict[str, Norm] = {
    "of a patch": lambda x: x[:, :1].square() + 1,
    "of a patch and a filter": lambda x: x.square() + 1,
}


def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    out, x = torch.randn(2, 4, 3, 5, 2, dtype=torch.float64, generator=generator)
    return out.requires_grad_(), x.requires_grad_()


def formula(out: Tensor, norm: Callable[[], Tensor], b: float) -> Tensor:
    """By operations of torch alone, but for what an explanation holds constant."""
    return dynamic_scale(out, recorded(lambda: (out / norm()).abs().pow(b - 1)))


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_equals_the_formula_twice(norm: Norm) -> None:
    results = []
    for function in (cosine_scale, formula):
        out, x = drawn()
        scaled = function(out, partial(norm, x), 2)
        first = torch.autograd.grad(scaled.sin().sum(), (out, x), create_graph=True)
        second = torch.autograd.grad(first[0].sin().sum() + first[1].cos().sum(), (out, x))
        results.append((scaled, *first, *second))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("of_logits", [True, False], ids=["both losses", "only that on the explanation"])
@pytest.mark.parametrize("rows", [False, True], ids=["all", "rows"])
def test_an_explanation_holds_the_factor_and_a_loss_on_it_reaches_it(
    norm: Norm, of_logits: bool, rows: bool
) -> None:
    results = []
    for function in (cosine_scale, formula):
        out, x = drawn()
        tape = FactorTape()
        with tape.record():
            scaled = function(out, partial(norm, x), 2)
        explained, again = out, scaled
        if rows:
            explained = out.detach()[ROWS].requires_grad_()
            with tape.play(ROWS):
                again = function(explained, lambda: pytest.fail("computed again"), 2)
        with explanation_backward():
            (weights,) = torch.autograd.grad(again.sum(), explained, create_graph=True)
        some = weights if rows else weights[ROWS]
        loss = some.sin().sum() + (scaled.cos().sum() if of_logits else 0)
        results.append((some, *torch.autograd.grad(loss, (out, x))))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    out, x = drawn()
    torch.testing.assert_close(results[0][0], (out.abs() / norm(x))[ROWS])


def test_gradients_of_rows_are_differentiated_too() -> None:
    results = []
    for function in (cosine_scale, formula):
        out, x = drawn()
        tape = FactorTape()
        with tape.record():
            scaled = function(out, partial(NORMS["of a patch"], x), 2)
        explained = out.detach()[ROWS].requires_grad_()
        with tape.play(ROWS):
            again = function(explained, lambda: pytest.fail("computed again"), 2)
        with explanation_backward():
            (weights,) = torch.autograd.grad(again.sum(), explained, create_graph=True)
        loss = weights.sin().sum() + scaled.cos().sum()
        first = torch.autograd.grad(loss, (out, x), create_graph=True)
        results.append(torch.autograd.grad(first[0].sin().sum() + first[1].cos().sum(), (out, x)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("b", [1, 1.5, 3])
def test_other_exponents(b: float) -> None:
    out, x = drawn()
    scaled = cosine_scale(out, lambda: x[:, :1].square() + 1, b)
    expected = out * (out / (x[:, :1].square() + 1)).abs().pow(b - 1)
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)  # 1e-6 is added to the cosine


def test_zeros_have_finite_derivatives() -> None:
    out, norm = torch.zeros(2, 3, 4, requires_grad=True), torch.ones(2, 1, 4, requires_grad=True)
    gradients = torch.autograd.grad(cosine_scale(out, lambda: norm, 2).sum(), (out, norm), create_graph=True)
    assert not any(gradient.any() for gradient in gradients)
    second = torch.autograd.grad(gradients[0].sum() + gradients[1].sum(), (out, norm))
    assert all(gradient.isfinite().all() for gradient in second)


def test_half_precision_is_scaled_in_float32() -> None:
    out = torch.randn(2, 3, 4).bfloat16().requires_grad_()
    scaled = cosine_scale(out, lambda: torch.full((2, 1, 4), 2.0), 2)
    assert scaled.dtype == torch.float32
    (gradient,) = torch.autograd.grad(scaled.sum(), out)
    torch.testing.assert_close(gradient, out.abs())
