"""Back through convolutions of images with few channels against torch's: values, rounding, threads."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models import few_channels, kernels
from guidance.models.transposed_convolution import Pair

# Images, channels, filters, height and width of the image; of filters, stride, padding.
Geometry = tuple[tuple[int, int, int, int, int], Pair, Pair, Pair]

GEOMETRIES: list[Geometry] = [
    ((2, 6, 64, 20, 18), (7, 7), (2, 2), (3, 3)),
    ((3, 3, 32, 9, 50), (3, 3), (1, 1), (1, 1)),
    ((1, 1, 32, 8, 8), (5, 5), (1, 1), (0, 0)),
    # Height and width differ in all; the last rows and columns are not reached.
    ((1, 6, 96, 14, 33), (2, 5), (3, 4), (1, 2)),
    # Steps over what no patch reaches, and a padding wider than a filter.
    ((2, 15, 32, 12, 11), (2, 2), (4, 3), (0, 1)),
    ((2, 6, 32, 7, 6), (2, 2), (1, 1), (4, 3)),
    # More rows than are added up at a time.
    ((3, 4, 32, 43, 5), (3, 3), (1, 1), (1, 1)),
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_to_the_image(geometry: Geometry, channels_last: bool, dtype: torch.dtype) -> None:
    image, weight, gradient = tensors(geometry, channels_last)
    (expected,) = torch.autograd.grad(convolve(image.requires_grad_(), weight, geometry), image, gradient)
    size = list(image.shape[2:])
    found = few_channels.transposed(gradient.to(dtype), weight.to(dtype), size, *geometry[2:])
    assert_equal(found, expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_to_the_filters(geometry: Geometry, channels_last: bool, dtype: torch.dtype) -> None:
    image, weight, gradient = tensors(geometry, channels_last)
    (expected,) = torch.autograd.grad(convolve(image, weight.requires_grad_(), geometry), weight, gradient)
    found = few_channels.gradients(gradient.to(dtype), image.to(dtype), geometry[1], *geometry[2:])
    assert_equal(found, expected)


def test_by_hand() -> None:
    """Two patches of 3 x 3 pixels that share a column, the second half beyond the image."""
    gradient = torch.zeros(1, 32, 1, 2)
    gradient[0, 7] = torch.tensor([[2.0, 10]])
    weight = torch.zeros(32, 3, 3, 3)
    weight[7, 1] = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    expected = torch.zeros(1, 3, 3, 4)
    expected[0, 1] = torch.tensor([[2.0, 4, 6 + 10, 20], [8, 10, 12 + 40, 50], [14, 16, 18 + 70, 80]])
    found = few_channels.transposed(gradient, weight, [3, 4], [1, 2], [0, 0])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)

    image = torch.zeros(1, 3, 3, 4)
    image[0, 2] = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 3], [5, 0, 0, 0]])
    filters = torch.zeros(32, 3, 3, 3)
    filters[7, 2] = torch.tensor([[10.0, 0, 2], [0, 30, 0], [10, 0, 0]])
    filters[7, 2, 2, 0] = 2 * 5
    found = few_channels.gradients(gradient, image, [3, 3], [1, 2], [0, 0])
    torch.testing.assert_close(found, filters, rtol=0, atol=0)


def test_what_is_not_a_number_stays_where_it_is() -> None:
    _, weight, gradient = tensors(GEOMETRIES[0])
    gradient[0, 5, 4, 4] = float("inf")
    expected = F.conv_transpose2d(gradient, weight, None, 2, 3, output_padding=(1, 1))
    found = few_channels.transposed(gradient, weight, [20, 18], [2, 2], [3, 3])
    assert not expected.isfinite().all()
    assert torch.equal(found.isfinite(), expected.isfinite())


def test_rounding() -> None:
    """Of float32: less than torch's convolutions."""
    geometry: Geometry = ((4, 6, 64, 112, 112), (7, 7), (2, 2), (3, 3))
    image, weight, gradient = tensors(geometry)
    exact = torch.autograd.grad(
        convolve(image.requires_grad_(), weight.requires_grad_(), geometry), (image, weight), gradient
    )
    low = image.detach().float().requires_grad_(), weight.detach().float().requires_grad_()
    theirs = torch.autograd.grad(convolve(*low, geometry), low, gradient.float())
    ours = (
        few_channels.transposed(gradient.float(), low[1].detach(), [112, 112], *geometry[2:]),
        few_channels.gradients(gradient.float(), low[0].detach(), geometry[1], *geometry[2:]),
    )
    for mine, other, truth in zip(ours, theirs, exact, strict=True):
        assert (mine - truth).norm() < 3e-7 * truth.norm()
        assert (mine - truth).norm() < (other - truth).norm()


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_operators_are_what_a_compiler_is_told(dtype: torch.dtype) -> None:
    image, weight, gradient = (each.to(dtype) for each in tensors(GEOMETRIES[3]))
    others = [3, 4], [1, 2]
    torch.library.opcheck(few_channels.transposed, (gradient, weight, [14, 33], *others))
    torch.library.opcheck(few_channels.gradients, (gradient, image, [2, 5], *others))


@pytest.mark.parametrize("threads", [1, 2, 24])
def test_any_number_of_threads(threads: int) -> None:
    """Three images are shared by two threads in bands of rows; 24 have hardly a row each."""
    geometry: Geometry = ((3, 6, 64, 26, 24), (7, 7), (2, 2), (3, 3))
    image, weight, gradient = tensors(geometry)
    both = image.requires_grad_(), weight.requires_grad_()
    expected = torch.autograd.grad(convolve(*both, geometry), both, gradient)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = (
            few_channels.transposed(gradient, weight.detach(), [26, 24], *geometry[2:]),
            few_channels.gradients(gradient, image.detach(), geometry[1], *geometry[2:]),
        )
    finally:
        torch.set_num_threads(usual)
    for mine, theirs in zip(found, expected, strict=True):
        assert_equal(mine, theirs)


@pytest.mark.parametrize(
    ("filters", "geometry", "taken"),
    [
        ((64, 6, 7, 7), ((1, 1), 1), True),
        ((32, 15, 2, 2), ((1, 1), 1), True),
        ((32, 16, 2, 2), ((1, 1), 1), False),  # channels
        ((40, 6, 7, 7), ((1, 1), 1), False),  # not whole panels
        ((64, 6, 7, 7), ((1, 2), 1), False),
        ((64, 6, 7, 7), ((1, 1), 2), False),
        ((64, 6, 1, 1), ((1, 1), 1), False),  # a patch
        ((192, 6, 16, 16), ((1, 1), 1), False),  # too many numbers
    ],
)
def test_what_they_take(filters: tuple[int, ...], geometry: tuple[Pair, int], taken: bool) -> None:
    weight = torch.empty(filters)
    outputs = torch.empty(1, filters[0], 4, 4)
    assert few_channels.takes(outputs, weight, *geometry) is taken
    assert not few_channels.takes(outputs.bfloat16(), weight, *geometry)


def tensors(geometry: Geometry, channels_last: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return an image, filters, and a gradient of the output, in float64."""
    (images, channels, outputs, height, width), filter_size, _, _ = geometry
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = torch.randn(images, channels, height, width, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(outputs, channels, *filter_size, dtype=torch.float64).to(memory_format=layout)
    gradient = torch.randn_like(convolve(image, weight, geometry)).to(memory_format=layout)
    return image, weight, gradient


def convolve(image: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    _, _, stride, padding = geometry
    return F.conv2d(image, weight, None, stride, padding)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    limit = 1e-12 if found.dtype == torch.float64 else 1e-6
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).norm() < limit * expected.norm()
