"""Gradients of filters by panels against torch's: values, rounding, threads."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models import filter_gradients, kernels

# Images, channels of input and output, height and width of the input, those of the filters, stride and
# padding. Of some the input's channels are more than the output's, and of some fewer; of both some have more
# pixels than are packed at a time.
GEOMETRIES = [
    (1, 32, 32, 1, 1, 1, 1, 1, 0),
    (2, 64, 32, 7, 5, 1, 1, 1, 0),
    (3, 32, 96, 9, 8, 1, 1, 2, 0),
    (1, 96, 64, 8, 7, 1, 1, 3, 0),
    (2, 160, 64, 37, 41, 1, 1, 1, 0),
    (3, 64, 160, 45, 46, 1, 1, 2, 0),
    (2, 32, 64, 9, 8, 3, 3, 2, 1),
    (2, 64, 32, 8, 7, 2, 2, 2, 0),
    (1, 96, 64, 5, 6, 3, 2, 1, 2),
    (1, 32, 32, 1, 1, 3, 3, 1, 1),
    (2, 32, 32, 3, 4, 1, 1, 1, 1),
    (2, 160, 64, 61, 53, 2, 3, 2, 1),
    (3, 64, 160, 57, 62, 3, 1, 2, 1),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_convolution(geometry: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    x, weight, gradient, stride, padding = tensors(geometry, channels_last)
    out = F.conv2d(x, weight.requires_grad_(), stride=stride, padding=padding)
    (expected,) = torch.autograd.grad(out, weight, gradient)
    filter_size = geometry[5:7]
    found = filter_gradients.gradients(gradient.to(dtype), x.to(dtype), filter_size, stride, padding)
    assert_equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_transposed_convolution(geometry: tuple[int, ...]) -> None:
    gradient, weight, x, stride, padding = tensors(geometry)
    sizes = zip(gradient.shape[2:], x.shape[2:], weight.shape[2:], strict=True)
    left_over = [whole - ((part - 1) * stride + taps - 2 * padding) for whole, part, taps in sizes]
    weight.requires_grad_()
    out = F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=left_over)
    (expected,) = torch.autograd.grad(out, weight, gradient)
    assert_equal(filter_gradients.gradients(x, gradient, weight.shape[2:], stride, padding), expected)


def test_by_hand() -> None:
    """Two pixels, of which the second takes part in its own row and column alone."""
    inputs = torch.zeros(1, 32, 2, 3)
    inputs[0, 5] = torch.tensor([[2.0, 100, 3], [100, 100, 100]])
    outputs = torch.zeros(1, 64, 1, 2)
    outputs[0, 40] = torch.tensor([[7.0, 11]])
    expected = torch.zeros(64, 32, 1, 1)
    expected[40, 5] = 2 * 7 + 3 * 11
    found = filter_gradients.gradients(outputs, inputs, (1, 1), 2, 0)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_padding_by_hand() -> None:
    """The middle of a filter sees the only pixel, and all around it zeros."""
    outputs, inputs = torch.zeros(1, 32, 1, 1), torch.zeros(1, 32, 1, 1)
    outputs[0, 3], inputs[0, 8] = 5, 7
    expected = torch.zeros(32, 32, 3, 3)
    expected[3, 8, 1, 1] = 35
    found = filter_gradients.gradients(outputs, inputs, (3, 3), 2, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_rounding() -> None:
    """Of float32: not half as much again as torch's convolution."""
    x, weight, gradient, *_ = tensors((8, 256, 512, 14, 14, 1, 1, 1, 0))
    (exact,) = torch.autograd.grad(F.conv2d(x, weight.requires_grad_()), weight, gradient)
    low = weight.detach().float().requires_grad_()
    (theirs,) = torch.autograd.grad(F.conv2d(x.float(), low), low, gradient.float())
    ours = filter_gradients.gradients(gradient.float(), x.float(), (1, 1), 1, 0)
    assert (ours - exact).norm() < 3e-7 * exact.norm()
    assert (ours - exact).norm() < 1.5 * (theirs - exact).norm()


def test_rounding_of_several_taps() -> None:
    """Of float32, with more pixels; torch's is five times as large without AVX-512."""
    x, weight, gradient, stride, padding = tensors((4, 128, 128, 56, 56, 3, 3, 2, 1))
    out = F.conv2d(x, weight.requires_grad_(), stride=stride, padding=padding)
    (exact,) = torch.autograd.grad(out, weight, gradient)
    ours = filter_gradients.gradients(gradient.float(), x.float(), (3, 3), stride, padding)
    assert (ours - exact).norm() < 3e-7 * exact.norm()


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_operator_is_what_a_compiler_is_told(dtype: torch.dtype) -> None:
    x, weight, gradient, *others = tensors((2, 32, 64, 5, 6, 3, 2, 2, 1))
    arguments = (gradient.to(dtype), x.to(dtype), weight.shape[2:], *others)
    torch.library.opcheck(filter_gradients.gradients, arguments)


@pytest.mark.parametrize("threads", [1, 2, 24])
@pytest.mark.parametrize("channels", [(160, 224), (224, 160)])
def test_any_number_of_threads(threads: int, channels: tuple[int, int]) -> None:
    """Two threads share five panels in unequal parts, 24 take one each."""
    x, weight, gradient, stride, padding = tensors((2, *channels, 33, 35, 1, 2, 1, 1))
    out = F.conv2d(x, weight.requires_grad_(), stride=stride, padding=padding)
    (expected,) = torch.autograd.grad(out, weight, gradient)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = filter_gradients.gradients(gradient, x, (1, 2), stride, padding)
    finally:
        torch.set_num_threads(usual)
    assert_equal(found, expected)


def tensors(geometry: tuple[int, ...], channels_last: bool = True) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """Return an input, filters, and a gradient of the output, in float64, the stride and the padding."""
    images, channels, outputs, height, width, *filter_size, stride, padding = geometry
    layout = torch.channels_last if channels_last else torch.contiguous_format
    down, right = (
        (side + 2 * padding - taps) // stride + 1
        for side, taps in zip((height, width), filter_size, strict=True)
    )
    x = torch.randn(images, channels, height, width, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(outputs, channels, *filter_size, dtype=torch.float64)
    gradient = torch.randn(images, outputs, down, right, dtype=torch.float64).to(memory_format=layout)
    return x, weight, gradient, stride, padding


def assert_equal(found: Tensor, expected: Tensor) -> None:
    limit = 1e-12 if found.dtype == torch.float64 else 1e-6
    assert found.shape == expected.shape
    assert (found - expected).norm() < limit * expected.norm()
