"""Dynamic alignment units against one patch at a time, their bound, and their derivatives."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from guidance.errors import InputError
from guidance.models.coda_layers import DynamicAlignmentConv2d, Nonlinearity
from guidance.models.dynamic_factors import explanation_backward
from tests.models.slow_alignment import dynamic_weights, patches_of

NONLINEARITIES = get_args(Nonlinearity)


def slow_units(layer: DynamicAlignmentConv2d, x: Tensor) -> Tensor:
    """g(A B x + b) . x, one patch and one unit at a time, by the formulas of the paper."""
    conv = layer.projection
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    x = torch.nn.functional.pad(x, [padding] * 4)
    units, rank = len(layer.offset), conv.out_channels
    rows, columns = (x.shape[2] - kernel) // stride + 1, (x.shape[3] - kernel) // stride + 1
    out = torch.zeros(len(x), units, rows, columns, dtype=x.dtype)
    b = torch.stack([filter.flatten() for filter in conv.weight])
    for n in range(len(x)):
        for i in range(rows):
            for j in range(columns):
                corner = x[n, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                patch = corner.flatten()
                for o in range(units):
                    a = layer.expansion[o].reshape(rank, -1).T
                    w = a @ (b @ patch) + layer.offset[o].flatten()
                    size = 1 if layer.nonlinearity == "l2" else w.norm() ** 2 / (1 + w.norm() ** 2)
                    out[n, o, i, j] = torch.dot(size * w / w.norm(), patch)
    return out


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize(("kernel", "stride", "padding", "rank"), [(1, 1, 0, 5), (3, 2, 1, 2), (3, 1, 0, 4)])
def test_equals_the_formula_patch_by_patch(
    nonlinearity: Nonlinearity, kernel: int, stride: int, padding: int, rank: int
) -> None:
    torch.manual_seed(0)
    layer = DynamicAlignmentConv2d(3, 4, kernel, stride, padding, rank, nonlinearity).double()
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), slow_units(layer, x), rtol=1e-10, atol=1e-10)
        single = layer.float()(x.float())
        torch.testing.assert_close(single.double(), slow_units(layer.double(), x), rtol=1e-3, atol=1e-4)


def excess(layer: DynamicAlignmentConv2d, x: Tensor) -> float:
    """Return by how much |DAU(x)| exceeds ||x|| at worst, relative to the largest ||x||."""
    with torch.no_grad():
        out, norms = layer(x), patches_of(layer, x.double()).norm(dim=-1)
    assert out.isfinite().all()
    worst = out.flatten(2).double().abs().amax(1) - norms
    return float(worst.max() / norms.max().clamp(min=1e-300))


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    scales=st.tuples(*[st.sampled_from([0.0, 1e-6, 1e-2, 1.0, 30.0, 1e4])] * 4),
    rank=st.integers(1, 6),
    double=st.booleans(),
)
def test_no_unit_returns_more_than_the_norm_of_its_patch(
    nonlinearity: Nonlinearity, seed: int, scales: tuple[float, float, float, float], rank: int, double: bool
) -> None:
    torch.manual_seed(seed)
    layer = DynamicAlignmentConv2d(2, 3, 2, 1, 1, rank, nonlinearity)
    with torch.no_grad():
        for parameter, scale in zip(layer.parameters(), scales, strict=False):
            parameter.copy_(torch.randn(parameter.shape) * scale)
    x = torch.randn(2, 2, 3, 3) * scales[3]
    if double:
        layer, x = layer.double(), x.double()
    assert excess(layer, x) <= (1e-12 if double else 1e-5)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [0.0, 1e-7, 1e-5, 1e-3])
def test_bound_holds_where_a_b_x_and_b_cancel(
    nonlinearity: Nonlinearity, dtype: torch.dtype, distance: float
) -> None:
    """The weights are small differences of large numbers, where rounding in ||w|| would break the bound."""
    torch.manual_seed(0)
    layer = DynamicAlignmentConv2d(8, 16, 1, rank=3, nonlinearity=nonlinearity).to(dtype)
    x = torch.randn(1, 8, 1, 1).to(dtype)
    with torch.no_grad():
        h = layer.projection(x).flatten()
        a = layer.expansion.mul_(100).reshape(16, 3, 8)
        layer.offset.copy_(-torch.einsum("r,ord->od", h, a)[..., None, None])
        layer.offset.add_(torch.randn_like(layer.offset) * distance)
    assert excess(layer, x) <= 1e-6


def test_weights_that_align_reach_the_bound() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 1, 1, dtype=torch.float64)
    shares: dict[Nonlinearity, float] = {"l2": 1.0, "squash": 9 / 10}
    for nonlinearity, share in shares.items():
        layer = DynamicAlignmentConv2d(3, 1, rank=1, nonlinearity=nonlinearity).double()
        with torch.no_grad():
            layer.expansion.zero_()
            layer.offset.copy_(3 * x / x.norm())  # squashed from 3 to 9 / 10
            torch.testing.assert_close(layer(x).flatten(), share * x.norm()[None], rtol=1e-9, atol=0)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_explanation_is_the_dynamic_weights_and_can_be_trained(nonlinearity: Nonlinearity) -> None:
    torch.manual_seed(0)
    layer = DynamicAlignmentConv2d(2, 3, 3, rank=2, nonlinearity=nonlinearity).double()
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    with explanation_backward():
        (w,) = torch.autograd.grad(out[0, 1], x, torch.ones(1, 1).double(), create_graph=True)
    expected = dynamic_weights(layer, patches_of(layer, x))[0, 0, 1]
    torch.testing.assert_close(w.flatten(), expected, rtol=1e-10, atol=1e-10)
    parameters = [x, *layer.parameters()]
    actual = torch.autograd.grad(w.sin().sum(), parameters, retain_graph=True)
    for gradient, reference in zip(
        actual, torch.autograd.grad(expected.sin().sum(), parameters), strict=True
    ):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-9)
    assert all(gradient.any() for gradient in actual)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_gradcheck(nonlinearity: Nonlinearity) -> None:
    torch.manual_seed(0)
    layer = DynamicAlignmentConv2d(2, 2, 2, rank=2, nonlinearity=nonlinearity).double()
    x = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    names, tensors = zip(*layer.named_parameters(), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        out: Tensor = torch.func.functional_call(layer, named, (x,))
        return out

    assert torch.autograd.gradcheck(run, (x, *tensors))
    assert torch.autograd.gradgradcheck(run, (x, *tensors))


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("silent", [False, True])
def test_zero_patch_and_zero_weights_are_finite_twice(nonlinearity: Nonlinearity, silent: bool) -> None:
    layer = DynamicAlignmentConv2d(3, 4, 3, padding=1, rank=2, nonlinearity=nonlinearity)
    x = torch.zeros(1, 3, 5, 5) if not silent else torch.ones(1, 3, 5, 5)
    if silent:
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    x.requires_grad_()
    assert not layer(x).any()
    tensors = [x, *layer.parameters()]
    with explanation_backward():
        (w,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    (plain,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    second = torch.autograd.grad((w + plain).square().sum() + layer(x).sum(), tensors)
    assert all(value.isfinite().all() for value in (w, plain, *second))


def test_half_precision_weights_have_single_norms() -> None:
    torch.manual_seed(0)
    layer = DynamicAlignmentConv2d(8, 6, 3, padding=1, rank=4)
    x = torch.rand(2, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.05)


def test_no_tensor_holds_the_weights_of_the_patches() -> None:
    """The largest tensor kept for the backward pass has R + 1 numbers per unit and position."""
    layer = DynamicAlignmentConv2d(16, 8, 3, padding=1, rank=4)
    x = torch.rand(2, 16, 12, 12, requires_grad=True)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    assert max(kept) == 2 * 12 * 12 * 8 * (4 + 1)


def test_unknown_nonlinearity_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.nonlinearity 'l3'. Did you mean 'l2'"):
        DynamicAlignmentConv2d(3, 4, nonlinearity="l3")  # type: ignore[arg-type]
