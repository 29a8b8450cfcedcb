"""B-cos linear maps against the formula and the package ``bcos``."""

import pytest
import torch
from bcos.modules import BcosLinear as PackageLinear

from guidance.models.bcos_linear import BcosLinear
from guidance.models.dynamic_factors import explanation_backward


@pytest.mark.parametrize("b", [1.0, 1.5, 2.0, 3.0])
def test_equals_the_formula(b: float) -> None:
    torch.manual_seed(0)
    layer = BcosLinear(4, 3, b=b).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    out = layer(x)
    for n in range(2):
        for t in range(5):
            for o, w in enumerate(layer.linear.weight):
                cosine = torch.dot(w, x[n, t]) / (w.norm() * x[n, t].norm())
                expected = cosine.abs() ** (b - 1) * torch.dot(w / w.norm(), x[n, t])
                torch.testing.assert_close(out[n, t, o], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("b", [1, 1.25, 2])
def test_equals_the_package_and_its_explanation(b: float) -> None:
    torch.manual_seed(0)
    ours, theirs = BcosLinear(4, 3, b=b).double(), PackageLinear(4, 3, b=b).double()
    theirs.load_state_dict(ours.state_dict())
    theirs.set_explanation_mode(True)
    x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ours(x), theirs(x))
    (expected,) = torch.autograd.grad(theirs(x).sin().sum(), x)
    with explanation_backward():
        (actual,) = torch.autograd.grad(ours(x).sin().sum(), x)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("b", [1.0, 2.0, 2.5])
def test_gradcheck(b: float) -> None:
    torch.manual_seed(0)
    layer = BcosLinear(3, 2, b=b).double()
    x = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_vector_of_zeros_is_finite_twice() -> None:
    layer = BcosLinear(3, 4)
    x = torch.zeros(1, 2, 3, requires_grad=True)
    assert torch.equal(layer(x), torch.zeros(1, 2, 4))
    with explanation_backward():
        (w,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    (w.square().sum() + layer(x).square().sum()).backward()
    (plain,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(plain.sum(), x)
    assert x.grad is not None
    assert all(torch.isfinite(value).all() for value in (w, x.grad, plain, second))


def test_half_precision_norms_are_single() -> None:
    torch.manual_seed(0)
    layer = BcosLinear(64, 8)
    x = torch.randn(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.05)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="B must be at least 1"):
        BcosLinear(3, 4, b=0.5)
    with pytest.raises(ValueError, match="no bias"):
        BcosLinear(3, 4, bias=True)
