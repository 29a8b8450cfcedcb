"""Linear maps against torch's own, twice differentiated, and while factors are played back."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models.dynamic_factors import explanation_backward
from guidance.models.factor_tape import FactorTape
from guidance.models.linear_maps import average_pool, convolve, multiply

GEOMETRIES: list[dict[str, Any]] = [
    {"stride": (1, 1)},
    {"stride": (2, 3), "padding": (1, 0)},  # neither divides the size
    {"stride": (3, 2), "padding": (1, 2), "dilation": (2, 1)},
    {"stride": (2, 2), "padding": (1, 1), "groups": 2},
]


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolution_equals_torch_twice(geometry: dict[str, Any]) -> None:
    groups = geometry.get("groups", 1)
    x, weight = drawn(2, 4, 8, 7), drawn(6, 4 // groups, 3, 2)
    results = []
    for function in (convolve, F.conv2d):
        out = function(x, weight, **geometry)
        of_x, of_weight = torch.autograd.grad(out.sin().sum(), (x, weight), create_graph=True)
        of_both = torch.autograd.grad((of_x.sin().sum() + of_weight.sin().sum()), (x, weight))
        results.append((out, of_x, of_weight, *of_both))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels", [3, 8, 15])
def test_a_strided_filter_of_one_pixel_and_few_channels(channels: int, threads: int) -> None:
    """On some processors torch's own gradient of the weight is wrong, or kills the process."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    layout: Any = {"memory_format": torch.channels_last}
    x = torch.randn(3, channels, 12, 10, generator=generator).contiguous(**layout)
    weight = torch.randn(16, channels, 1, 1, generator=generator).requires_grad_()
    out = convolve(x, weight, (2, 2))
    (gradient,) = torch.autograd.grad(out.square().sum(), weight)
    torch.set_num_threads(before)
    pixels, filters = x[:, :, ::2, ::2].double(), weight.detach()[:, :, 0, 0].double()
    expected = torch.einsum("ok,nkhw->nohw", filters, pixels)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    expected_gradient = 2 * torch.einsum("nohw,nkhw->ok", expected, pixels)
    torch.testing.assert_close(gradient[:, :, 0, 0].double(), expected_gradient, rtol=1e-4, atol=1e-3)


def test_multiplication_equals_torch_twice() -> None:
    x, weight = drawn(2, 3, 4), drawn(5, 4)
    torch.testing.assert_close(multiply(x, weight), F.linear(x, weight))
    assert torch.autograd.gradcheck(multiply, (x, weight))
    assert torch.autograd.gradgradcheck(multiply, (x, weight))


@pytest.mark.parametrize(
    "options",
    [((3, 3), (2, 2)), ((3, 2), (2, 3), (1, 1), True, False), ((2, 2), (1, 2), (0, 1), False, True, 3)],
)
def test_average_pooling_equals_torch_twice(options: tuple[Any, ...]) -> None:
    results = []
    for function in (average_pool, F.avg_pool2d):
        x = drawn(2, 3, 8, 7)
        out = function(x, *options)
        (of_x,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        results.append((out, of_x, *torch.autograd.grad(of_x.sin().sum(), x)))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_the_gradient_of_pooling_depends_on_no_input() -> None:
    x = drawn(2, 3, 8, 8)
    weights = torch.ones(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    (of_x,) = torch.autograd.grad(average_pool(x, (2, 2), (2, 2)), x, weights, create_graph=True)
    assert torch.autograd.grad(of_x.square().sum(), (x, weights), allow_unused=True)[0] is None


def test_no_second_derivative_of_a_convolution_is_left() -> None:
    x, weight = drawn(2, 4, 8, 8), drawn(3, 4, 3, 3)
    with explanation_backward():
        (w,) = torch.autograd.grad(convolve(x, weight).sum(), x, create_graph=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        w.square().sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert "aten::convolution_backward" in names
    assert not any("double" in name or "ConvolutionBackwardBackward" in name for name in names)


def test_all_gradients_are_channels_last() -> None:
    layout: Any = {"memory_format": torch.channels_last}
    x = drawn(2, 16, 9, 9).detach().contiguous(**layout).requires_grad_()
    weight = drawn(4, 16, 3, 3).detach().contiguous(**layout).requires_grad_()
    out = average_pool(convolve(x, weight, (2, 2), (1, 1)), (3, 3), (2, 2), (1, 1))
    (of_x,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    of_both = torch.autograd.grad(of_x.square().sum() + out.square().sum(), (x, weight))
    for tensor in (out, of_x, *of_both):
        assert tensor.is_contiguous(**layout)


def test_an_explanation_has_no_gradient_of_a_weight() -> None:
    for function, x, weight in (
        (convolve, drawn(2, 4, 5, 5), drawn(3, 4, 2, 2)),
        (multiply, drawn(2, 4), drawn(3, 4)),
    ):
        with explanation_backward():
            of_x, of_weight = torch.autograd.grad(
                function(x, weight).sum(), (x, weight), create_graph=True, allow_unused=True
            )
        assert of_x.any()
        assert of_weight is None


def test_while_factors_are_played_back_gradients_are_those_of_the_map() -> None:
    for function, x, weight in (
        (convolve, drawn(2, 4, 5, 5), drawn(3, 4, 2, 2)),
        (multiply, drawn(2, 4), drawn(3, 4)),
    ):
        out = function(x, weight)
        (expected,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        with FactorTape().play(torch.arange(2)):
            played = function(x, weight)
        assert played.shape == out.shape
        assert not played.any()
        with explanation_backward():
            (of_x,) = torch.autograd.grad(played.sum(), x, create_graph=True)
        torch.testing.assert_close(of_x, expected)
        of_weights = [torch.autograd.grad(w.sin().sum(), weight)[0] for w in (of_x, expected)]
        torch.testing.assert_close(*of_weights)
        played = _played(function, x, weight)
        (outside,) = torch.autograd.grad(played.sum(), x, allow_unused=True)
        assert outside is None


@pytest.mark.parametrize(
    ("function", "x", "weight", "back"),
    [
        (convolve, drawn(2, 4, 5, 5), drawn(3, 4, 2, 2), F.conv_transpose2d),
        (multiply, drawn(2, 3, 4), drawn(5, 4), torch.matmul),
    ],
)
def test_an_explanation_in_bfloat16(function: Any, x: Tensor, weight: Tensor, back: Any) -> None:
    """Back as torch goes back in this type; what comes out, and the map itself, keep their own."""
    out = function(x, weight)
    given = torch.rand_like(out).requires_grad_()
    with explanation_backward(torch.bfloat16):
        torch.testing.assert_close(function(x, weight), out, rtol=0, atol=0)
        (of_x,) = torch.autograd.grad(out, x, given, create_graph=True)
    low = back(given.bfloat16(), weight.bfloat16())
    torch.testing.assert_close(of_x, low.double(), rtol=0, atol=0)
    (exact,) = torch.autograd.grad(function(x, weight), x, given, create_graph=True)
    assert 1e-5 < float((of_x - exact).detach().norm() / exact.detach().norm()) < 1e-2
    of_both, expected = (torch.autograd.grad(w.square().sum(), (given, weight)) for w in (of_x, exact))
    for actual, other in zip(of_both, expected, strict=True):
        assert actual.dtype == torch.float64
        assert float((actual - other).norm() / other.norm()) < 2e-2


def _played(function: Any, x: Tensor, weight: Tensor) -> Tensor:
    with FactorTape().play(torch.arange(2)):
        out: Tensor = function(x, weight)
    return out


def test_autocast_casts_as_it_does_for_torch() -> None:
    x, weight = drawn(2, 4, 5, 5).float().detach().requires_grad_(), drawn(3, 4, 2, 2).float().detach()
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out, expected = convolve(x, weight), F.conv2d(x, weight)
    assert out.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected)
    of_ours, of_torch = (torch.autograd.grad(each.sum(), (x, weight)) for each in (out, expected))
    for actual, other in zip(of_ours, of_torch, strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, other)
