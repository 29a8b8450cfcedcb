"""Moments of channels and sums of products against torch's: values, rounding, threads."""

import pytest
import torch
from torch import Tensor

from guidance.models import channel_sums, kernels

# Images, channels, height, width: one position, fewer and more than are summed at a time, and channels that
# do and do not fill vectors, and groups of vectors.
GEOMETRIES = [(1, 1, 1, 1), (1, 3, 2, 2), (2, 64, 4, 4), (3, 71, 5, 7), (2, 200, 9, 13), (5, 256, 8, 8)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def tensors(geometry: tuple[int, ...], channels_last: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return three maps and positive norms, in float64."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, y, out = (torch.randn(geometry, dtype=torch.float64).to(memory_format=layout) + 1 for _ in range(3))
    return x, y, out, torch.rand(geometry[0], 1, *geometry[2:], dtype=torch.float64) + 0.2


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_moments(geometry: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    x, _, _, norm = tensors(geometry, channels_last)
    for summed, norms in ((x, None), (x * x.abs() / norm, norm.to(dtype))):
        expected = torch.var_mean(summed, dim=(0, 2, 3), correction=0)
        found = channel_sums.moments(x.to(dtype), norms)
        assert_equal(found[0], expected[0], expected[0] + expected[1].square())
        assert_equal(found[1], expected[1], summed.abs().mean((0, 2, 3)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_products(geometry: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    x, y, out, norm = tensors(geometry, channels_last)
    low = [each.to(dtype) for each in (x, y, out, norm)]
    for summed, found in (
        (x * y, channel_sums.products(low[0], low[1], None, None)),
        (x * y * out.abs() / norm, channel_sums.products(*low)),
        # As in a gradient: one map is what is scaled.
        (x * y * y.abs() / norm, channel_sums.products(low[0], low[1], low[1], low[3])),
    ):
        assert_equal(found, summed.sum((0, 2, 3)), summed.abs().sum((0, 2, 3)))


def test_by_hand() -> None:
    x = torch.tensor([[[[3.0, -1]]]])
    norm = torch.tensor([[[[2.0, 0.5]]]])
    # 9 / 2 and -1 / 0.5
    variance, mean = channel_sums.moments(x, norm)
    assert mean.item() == 1.25
    assert variance.item() == 3.25**2
    y = torch.tensor([[[[2.0, 5]]]])
    assert channel_sums.products(x, y, None, None).item() == 1
    # 6 * 3 / 2 and -5 * 1 / 0.5
    assert channel_sums.products(x, y, x, norm).item() == -1


def test_nothing_cancels() -> None:
    """A variance of 1 beside a mean of 1000, of 50,000 values in float32."""
    x = (
        (torch.randn(2, 32, 160, 160, dtype=torch.float64) + 1000)
        .to(memory_format=torch.channels_last)
        .float()
    )
    variance, mean = channel_sums.moments(x, None)
    expected = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(variance.double(), expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(mean.double(), expected[1], rtol=1e-7, atol=0)


def test_rounding() -> None:
    """Of float32, less than torch's own sums."""
    x, y, _, _ = tensors((8, 64, 56, 56))
    exact = (x * y).sum((0, 2, 3))
    low = x.float(), y.float()
    theirs = (low[0] * low[1]).sum((0, 2, 3))
    ours = channel_sums.products(*low, None, None)
    assert (ours - exact).norm() <= (theirs - exact).norm()
    assert (ours - exact).norm() < 1e-7 * exact.norm()


@pytest.mark.parametrize("threads", [1, 2, 3, 24])
def test_any_number_of_threads(threads: int) -> None:
    """Of 35 positions, 24 threads have one or two each; of two, most have none."""
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for geometry in ((1, 70, 5, 7), (1, 70, 1, 2)):
            x, y, out, norm = tensors(geometry)
            variance, mean = channel_sums.moments(x, norm)
            expected = torch.var_mean(x * x.abs() / norm, dim=(0, 2, 3), correction=0)
            torch.testing.assert_close(variance, expected[0])
            torch.testing.assert_close(mean, expected[1])
            sums = channel_sums.products(x, y, out, norm)
            torch.testing.assert_close(sums, (x * y * out.abs() / norm).sum((0, 2, 3)))
    finally:
        torch.set_num_threads(usual)


def test_no_image() -> None:
    x = torch.zeros(0, 3, 2, 2)
    variance, mean = channel_sums.moments(x, None)
    assert variance.isnan().all()
    assert mean.isnan().all()
    assert channel_sums.products(x, x, None, None).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_operators_are_what_a_compiler_is_told(dtype: torch.dtype) -> None:
    x, y, out, norm = (each.to(dtype) for each in tensors((2, 6, 3, 4)))
    torch.library.opcheck(channel_sums.moments, (x, None))
    torch.library.opcheck(channel_sums.moments, (x, norm))
    torch.library.opcheck(channel_sums.products, (x, y, None, None))
    torch.library.opcheck(channel_sums.products, (x, y, out, norm))


def assert_equal(found: Tensor, expected: Tensor, size: Tensor) -> None:
    """Compare with a tolerance relative to the size of what was summed."""
    limit = 1e-13 if found.dtype == torch.float64 else 1e-6
    assert found.shape == expected.shape
    assert ((found - expected).abs() <= limit * size).all()
