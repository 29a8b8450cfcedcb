"""Gradients of 1x1 filters by panels against torch's: values, rounding, threads."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models import kernels, pointwise

# Images, channels of input and output, height and width of the input, stride. The last ones are more than is
# packed at a time; in these the input's channels are more than the output's, and fewer.
GEOMETRIES = [
    (1, 32, 32, 1, 1, 1),
    (2, 64, 32, 7, 5, 1),
    (3, 32, 96, 9, 8, 2),
    (1, 96, 64, 8, 7, 3),
    (2, 160, 64, 37, 41, 1),
    (3, 64, 160, 45, 46, 2),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_convolution(geometry: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    x, weight, gradient, stride = tensors(geometry, channels_last)
    out = F.conv2d(x, weight.requires_grad_(), stride=stride)
    (expected,) = torch.autograd.grad(out, weight, gradient)
    found = pointwise.gradients(gradient.to(dtype), x.to(dtype), stride)
    assert_equal(found, expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_transposed_convolution(geometry: tuple[int, ...]) -> None:
    gradient, weight, x, stride = tensors(geometry)
    left_over = [
        whole - (part - 1) * stride - 1 for whole, part in zip(gradient.shape[2:], x.shape[2:], strict=True)
    ]
    out = F.conv_transpose2d(x, weight.requires_grad_(), stride=stride, output_padding=left_over)
    (expected,) = torch.autograd.grad(out, weight, gradient)
    assert_equal(pointwise.gradients(x, gradient, stride), expected)


def test_by_hand() -> None:
    """Two pixels, of which the second takes part in its own row and column alone."""
    inputs = torch.zeros(1, 32, 2, 3)
    inputs[0, 5] = torch.tensor([[2.0, 100, 3], [100, 100, 100]])
    outputs = torch.zeros(1, 64, 1, 2)
    outputs[0, 40] = torch.tensor([[7.0, 11]])
    expected = torch.zeros(64, 32, 1, 1)
    expected[40, 5] = 2 * 7 + 3 * 11
    torch.testing.assert_close(pointwise.gradients(outputs, inputs, 2), expected, rtol=0, atol=0)


def test_rounding() -> None:
    """Of float32: not half as much again as torch's convolution."""
    x, weight, gradient, _ = tensors((8, 256, 512, 14, 14, 1))
    (exact,) = torch.autograd.grad(F.conv2d(x, weight.requires_grad_()), weight, gradient)
    low = weight.detach().float().requires_grad_()
    (theirs,) = torch.autograd.grad(F.conv2d(x.float(), low), low, gradient.float())
    ours = pointwise.gradients(gradient.float(), x.float(), 1)
    assert (ours - exact).norm() < 3e-7 * exact.norm()
    assert (ours - exact).norm() < 1.5 * (theirs - exact).norm()


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_operator_is_what_a_compiler_is_told(dtype: torch.dtype) -> None:
    x, _, gradient, stride = tensors((2, 32, 64, 5, 6, 2))
    torch.library.opcheck(pointwise.gradients, (gradient.to(dtype), x.to(dtype), stride))


@pytest.mark.parametrize("threads", [1, 2, 24])
def test_any_number_of_threads(threads: int) -> None:
    """Two threads share five panels in unequal parts, 24 take one each."""
    x, weight, gradient, _ = tensors((2, 160, 224, 33, 35, 1))
    (expected,) = torch.autograd.grad(F.conv2d(x, weight.requires_grad_()), weight, gradient)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = pointwise.gradients(gradient, x, 1)
    finally:
        torch.set_num_threads(usual)
    assert_equal(found, expected)


def tensors(geometry: tuple[int, ...], channels_last: bool = True) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return an input, filters, and a gradient of the output, in float64, and the stride."""
    images, channels, outputs, height, width, stride = geometry
    layout = torch.channels_last if channels_last else torch.contiguous_format
    down, right = (-(-side // stride) for side in (height, width))
    x = torch.randn(images, channels, height, width, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(outputs, channels, 1, 1, dtype=torch.float64)
    gradient = torch.randn(images, outputs, down, right, dtype=torch.float64).to(memory_format=layout)
    return x, weight, gradient, stride


def assert_equal(found: Tensor, expected: Tensor) -> None:
    limit = 1e-12 if found.dtype == torch.float64 else 1e-6
    assert found.shape == expected.shape
    assert (found - expected).norm() < limit * expected.norm()
