"""Dynamic factors in and outside explanations."""

import pytest
import torch

from guidance.models.dynamic_factors import dynamic_scale, explanation_backward


def test_dynamic_scale_is_a_product_outside_explanations() -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    for shape in [(2, 3, 4, 4), (2, 1, 4, 4), (3, 1, 1)]:
        factor = torch.rand(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(dynamic_scale, (x, factor))
        assert torch.autograd.gradgradcheck(dynamic_scale, (x, factor))


def test_factor_is_constant_in_the_explanation_only() -> None:
    x = torch.tensor([3.0], requires_grad=True)
    out = dynamic_scale(x, x * 2)  # 2 x^2 = 18; as a dynamic linear map: W(x) = 2x = 6
    with explanation_backward():
        (w,) = torch.autograd.grad(out, x, create_graph=True)
    assert w.item() == 6
    (of_w,) = torch.autograd.grad(w, x, retain_graph=True)  # but dW/dx = 2 reaches the factor
    assert of_w.item() == 2
    (of_out,) = torch.autograd.grad(out, x)
    assert of_out.item() == 12


def test_an_error_ends_the_explanation_mode() -> None:
    with pytest.raises(RuntimeError, match="stop"), explanation_backward():
        raise RuntimeError("stop")
    x = torch.tensor([3.0], requires_grad=True)
    assert torch.autograd.grad(dynamic_scale(x, x * 2), x)[0].item() == 12
