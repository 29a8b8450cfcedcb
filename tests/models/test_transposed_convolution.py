"""The transposed convolution against the gradient of torch's convolution."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models.convolution_formulas import Geometry
from guidance.models.transposed_convolution import transposed_convolution

KERNELS = [(1, 1), (2, 2), (3, 3), (4, 2), (5, 5), (7, 7)]
STRIDES = [(1, 1), (2, 2), (3, 3), (2, 4), (1, 2)]
PADDINGS = [(0, 0), (1, 1), (2, 0), (3, 3), (4, 4)]
SIZES = [(9, 9), (10, 12), (11, 8)]


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_the_gradient_of_a_convolution(kernel: tuple[int, int], channels: int) -> None:
    compared = 0
    for stride, padding, size in itertools.product(STRIDES, PADDINGS, SIZES):
        x, weight = drawn(2, channels, *size).requires_grad_(), drawn(5, channels, *kernel)
        out = F.conv2d(x, weight, None, stride, padding)
        gradient = drawn(*out.shape)
        (expected,) = torch.autograd.grad(out, x, gradient)
        actual = transposed_convolution(gradient, weight, size, Geometry(stride, padding))
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
        compared += 1
    assert compared == len(STRIDES) * len(PADDINGS) * len(SIZES)


@pytest.mark.parametrize(("dilation", "groups"), [((2, 1), 1), ((1, 1), 3)])
def test_dilation_and_groups(dilation: tuple[int, int], groups: int) -> None:
    x, weight = drawn(2, 3, 9, 10).requires_grad_(), drawn(6, 3 // groups, 3, 3)
    out = F.conv2d(x, weight, None, (2, 2), (1, 1), dilation, groups)
    gradient = drawn(*out.shape)
    (expected,) = torch.autograd.grad(out, x, gradient)
    actual = transposed_convolution(
        gradient, weight, (9, 10), Geometry((2, 2), (1, 1), dilation, groups=groups)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_gradcheck() -> None:
    x, weight = drawn(1, 2, 3, 2).requires_grad_(), drawn(2, 2, 3, 3).requires_grad_()

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return transposed_convolution(x, weight, (6, 5), Geometry((2, 2), (1, 1)))

    assert torch.autograd.gradcheck(run, (x, weight))
    assert torch.autograd.gradgradcheck(run, (x, weight))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_few_channels_are_computed_without_a_stride(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    strides = []

    def recorded(*arguments: object, **options: object) -> Tensor:
        strides.append(arguments[3] if len(arguments) > 3 else 1)
        return conv_transpose2d(*arguments, **options)  # type: ignore[arg-type]

    conv_transpose2d = F.conv_transpose2d
    monkeypatch.setattr(F, "conv_transpose2d", recorded)
    for channels in (6, 16):
        gradient = drawn(2, 8, 8, 8).contiguous(memory_format=layout)
        out = transposed_convolution(gradient, drawn(8, channels, 7, 7), (16, 16), Geometry((2, 2), (3, 3)))
        assert out.shape == (2, channels, 16, 16)
    assert strides == [1, (2, 2)]


@pytest.mark.parametrize("size", [(9, 12), (7, 7), (8, 9)])
def test_a_compiler_sees_any_number_of_images(size: tuple[int, int]) -> None:
    """Also where no patch reaches the last row or column."""
    weight = drawn(4, 3, 2, 2)

    def run(x: Tensor) -> Tensor:
        return transposed_convolution(x, weight, size, Geometry((2, 2)))

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True, dynamic=False)
    for count in (2, 5):
        x = drawn(count, 4, size[0] // 2, size[1] // 2)
        torch._dynamo.mark_dynamic(x, 0)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), run(x))
