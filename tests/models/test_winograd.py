"""Winograd's 3x3 convolutions against torch's: values, gradients and rounding."""

import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.models import kernels, winograd

# Images; channels of input and output, which fill vectors and panels of 32 or do not; height and width.
# Then tiles that are more than are computed at a time, by each of two threads for itself, and, since there
# are so many filters, by both together; at last few tiles and several panels of filters.
GEOMETRIES = [
    (1, 1, 1, 1, 1),
    (2, 3, 5, 1, 7),
    (1, 8, 16, 4, 4),
    (3, 17, 9, 5, 4),
    (2, 24, 7, 7, 14),
    (1, 5, 8, 13, 6),
    (2, 32, 64, 8, 8),
    (4, 40, 33, 45, 61),
    (2, 128, 130, 40, 52),
    (2, 70, 65, 7, 9),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
def test_convolution(geometry: tuple[int, ...], channels_last: bool) -> None:
    x, weight, _ = tensors(geometry, channels_last=channels_last)
    found = winograd.convolution(x, winograd.filters(weight), len(weight), False)
    assert_equal(found, F.conv2d(x, weight, padding=1))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_transposed_convolution(geometry: tuple[int, ...]) -> None:
    _, weight, x = tensors(geometry)
    found = winograd.convolution(x, winograd.filters(weight), weight.shape[1], True)
    assert_equal(found, F.conv_transpose2d(x, weight, padding=1))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("transposed", [True, False])
def test_gradients(geometry: tuple[int, ...], transposed: bool) -> None:
    x, weight, gradient = tensors(geometry)
    if transposed:
        x, gradient = gradient, x
    x.requires_grad_()
    weight.requires_grad_()
    out = F.conv_transpose2d(x, weight, padding=1) if transposed else F.conv2d(x, weight, padding=1)
    expected = torch.autograd.grad(out, (x, weight), gradient)
    with torch.no_grad():
        found = gradients(gradient, x, weight, transposed)
    for each, of_torch in zip(found, expected, strict=True):
        assert_equal(each, of_torch)


def test_by_hand() -> None:
    """One pixel sees the middle of the filter alone; the filter's values are products of polynomials'."""
    weight = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    pixel = winograd.convolution(torch.full((1, 1, 1, 1), 2.0), winograd.filters(weight), 1, False)
    assert pixel.item() == pytest.approx(10, rel=1e-6)
    values = winograd.filters(weight)[:, 0].view(6, 6)
    assert values[0, 0] == 1  # at (0, 0)
    assert values[5, 5] == 9  # at infinity
    # At the root of 2, divided by it: (1 / r, 1, r) for rows and columns.
    at_root = torch.tensor([math.sqrt(0.5), 1, math.sqrt(2)])
    torch.testing.assert_close(values[1, 1], at_root @ weight[0, 0] @ at_root)


@pytest.mark.parametrize("transposed", [True, False])
def test_rounding(transposed: bool) -> None:
    """Of float32, which torch's gradients of filters have less of where there is AVX-512."""
    x, weight, gradient = (each.float() for each in tensors((2, 64, 64, 28, 28)))

    def both(x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        out = F.conv_transpose2d(x, weight, padding=1) if transposed else F.conv2d(x, weight, padding=1)
        return out, *torch.autograd.grad(out, (x, weight), gradient)

    values = winograd.filters(weight)
    tiled = winograd.convolution(x, values, 64, transposed), *gradients(gradient, x, weight, transposed)
    exact = both(x.double(), weight.double(), gradient.double())
    for ours, value in zip(tiled, exact, strict=True):
        assert (ours - value).norm() < 1e-6 * value.norm()
    for ours, theirs, value in list(zip(tiled, both(x, weight, gradient), exact, strict=True))[:2]:
        assert (ours - value).norm() < 2.5 * (theirs - value).norm()


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("transposed", [True, False])
def test_operators_are_what_a_compiler_is_told(dtype: torch.dtype, transposed: bool) -> None:
    x, weight, gradient = (each.to(dtype) for each in tensors((2, 9, 9, 5, 6)))
    values = winograd.filters(weight)
    torch.library.opcheck(winograd.filters, (weight,))
    torch.library.opcheck(winograd.convolution, (x, values, 9, transposed))
    torch.library.opcheck(winograd.gradients, (x, gradient))


@pytest.mark.parametrize("threads", [1, 2, 24])
@pytest.mark.parametrize("geometry", [(1, 40, 33, 101, 121), (1, 40, 33, 61, 41)])
def test_any_number_of_threads(threads: int, geometry: tuple[int, ...]) -> None:
    """Enough tiles for each of 24 threads to compute its own, and fewer, of which all multiply parts."""
    x, weight, gradient = tensors(geometry)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        values = winograd.filters(weight)
        found = winograd.convolution(x, values, 33, False), *gradients(gradient, x, weight, False)
    finally:
        torch.set_num_threads(usual)
    x.requires_grad_()
    weight.requires_grad_()
    out = F.conv2d(x, weight, padding=1)
    expected = out.detach(), *torch.autograd.grad(out, (x, weight), gradient)
    for each, of_torch in zip(found, expected, strict=True):
        assert_equal(each, of_torch)


def test_values_of_a_tensor_are_kept_as_long_as_it_is_as_it_was() -> None:
    weight = torch.randn(3, 2, 3, 3)
    values = winograd.kept_filters(weight)
    torch.testing.assert_close(values, winograd.filters(weight), rtol=0, atol=0)
    assert winograd.kept_filters(weight) is values
    assert winograd.kept_filters(weight.clone()) is not values
    weight.mul_(2)
    torch.testing.assert_close(winograd.kept_filters(weight), 2 * values)
    gone = weakref.ref(winograd.kept_filters(weight))
    del weight
    assert gone() is None


def test_values_of_what_changes_unseen_are_not_kept() -> None:
    parameter = nn.Parameter(torch.randn(3, 2, 3, 3))
    with torch.no_grad():
        values = winograd.kept_filters(parameter)
        parameter.data.mul_(2)
        torch.testing.assert_close(winograd.kept_filters(parameter), 2 * values)
    with torch.inference_mode():
        weight = torch.randn(3, 2, 3, 3)
        values = winograd.kept_filters(weight)
        weight.mul_(2)
        torch.testing.assert_close(winograd.kept_filters(weight), 2 * values)


def gradients(gradient: Tensor, x: Tensor, weight: Tensor, transposed: bool) -> tuple[Tensor, Tensor]:
    """Return those of input and filters."""
    of_x = winograd.convolution(gradient, winograd.filters(weight), x.shape[1], not transposed)
    return of_x, winograd.gradients(*((x, gradient) if transposed else (gradient, x)))


def tensors(geometry: tuple[int, ...], channels_last: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return an input, filters, and a gradient of the output, in float64."""
    images, channels, outputs, height, width = geometry
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(images, channels, height, width, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(outputs, channels, 3, 3, dtype=torch.float64).to(memory_format=layout)
    gradient = torch.randn(images, outputs, height, width, dtype=torch.float64).to(memory_format=layout)
    return x, weight, gradient


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))
