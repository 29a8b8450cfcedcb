"""The B-cos transform of a kernel of our own against its formula: values, gradients, rounding."""

import pytest
import torch
from torch import Tensor

from guidance.models import bcos_transform, cpu_kernels, kernels

# Images, channels, height, width: channels that do and do not fill vectors; fewer positions than threads.
GEOMETRIES = [(1, 1, 1, 1), (1, 3, 2, 2), (2, 64, 4, 4), (3, 71, 5, 7), (2, 200, 3, 5), (0, 8, 3, 3)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def tensors(geometry: tuple[int, ...], channels_last: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of what is scaled and of the factor, a map with some zeros, and norms, in float64."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps = [torch.randn(geometry, dtype=torch.float64).to(memory_format=layout) for _ in range(3)]
    maps[2].masked_fill_(torch.rand(geometry) < 0.1, 0)
    norm = torch.rand(geometry[0], 1, *geometry[2:], dtype=torch.float64) + 0.2
    return maps[0], maps[1], maps[2], norm


def formula(out: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    factor = out.abs() / norm
    return out * factor, factor


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_transform(geometry: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    _, _, out, norm = (each.to(dtype) for each in tensors(geometry, channels_last))
    found = bcos_transform.transform(out, norm)
    for each, expected in zip(found, formula(out.double(), norm.double()), strict=True):
        assert each.dtype == dtype
        assert each.is_contiguous(memory_format=torch.channels_last)
        assert_equal(each, expected, expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_gradients(
    geometry: tuple[int, ...], channels_last: bool, given: tuple[bool, bool], dtype: torch.dtype
) -> None:
    *both, out, norm = (each.to(dtype) for each in tensors(geometry, channels_last))
    gradients = [each if is_given else None for each, is_given in zip(both, given, strict=True)]
    found = bcos_transform.gradients(gradients[0], gradients[1], out, norm)
    exact_out, exact_norm = out.double().requires_grad_(), norm.double().requires_grad_()
    exact = [torch.zeros_like(exact_out) if each is None else each.double() for each in gradients]
    outputs = formula(exact_out, exact_norm)
    expected = torch.autograd.grad(outputs, (exact_out, exact_norm), exact, retain_graph=True)
    # What is added up, which is what rounds.
    sizes = torch.autograd.grad(outputs[1], exact_norm, exact[1].abs() + (exact[0] * out.double()).abs())[0]
    assert_equal(found[0], expected[0], 3 * (exact[0] * out.double()).abs() / norm + exact[1].abs() / norm)
    assert_equal(found[1], expected[1], sizes)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert found[1].shape == norm.shape


def test_by_hand() -> None:
    out, norm = torch.tensor([[[[3.0]], [[-1.0]], [[0.0]]]]), torch.tensor([[[[2.0]]]])
    scaled, factor = bcos_transform.transform(out, norm)
    assert factor.flatten().tolist() == [1.5, 0.5, 0]
    assert scaled.flatten().tolist() == [4.5, -0.5, 0]
    of_factor = torch.tensor([[[[1.0]], [[2.0]], [[4.0]]]])
    of_out, of_norm = bcos_transform.gradients(None, of_factor, out, norm)
    assert of_out.flatten().tolist() == [0.5, -1, 0]
    # -(1 * 1.5 + 2 * 0.5) / 2
    assert of_norm.item() == -1.25
    of_out, of_norm = bcos_transform.gradients(of_factor, None, out, norm)
    # 2 |out| / norm
    assert of_out.flatten().tolist() == [3, 2, 0]
    assert of_norm.item() == pytest.approx(-(3 * 1.5 - 2 * 0.5) / 2)


def test_what_it_is_for() -> None:
    _, _, out, norm = tensors((2, 8, 3, 3))
    taken = bcos_transform.takes
    with torch.no_grad():
        assert not taken(out, norm)
        with cpu_kernels():
            assert taken(out, norm)
            assert taken(out.float(), norm.float())
            assert not taken(out.float(), norm)
            assert not taken(out.bfloat16(), norm.bfloat16())
            assert not taken(out.contiguous(), norm)
            assert not taken(out, norm.expand_as(out))
            assert not taken(out, norm[:1])
            assert not taken(out[:, :, 0], norm[:, :, 0])
            assert not taken(out[:0], norm[:0])
    with cpu_kernels():
        assert not taken(out, norm)


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_operators_are_what_a_compiler_is_told(dtype: torch.dtype) -> None:
    of_scaled, of_factor, out, norm = (each.to(dtype) for each in tensors((2, 9, 5, 6)))
    torch.library.opcheck(bcos_transform.transform, (out, norm))
    for both in ((of_scaled, of_factor), (of_scaled, None), (None, of_factor)):
        torch.library.opcheck(bcos_transform.gradients, (*both, out, norm))


@pytest.mark.parametrize("threads", [1, 2, 24])
def test_any_number_of_threads(threads: int) -> None:
    _, _, out, norm = tensors((2, 17, 3, 3))
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = bcos_transform.transform(out, norm)
    finally:
        torch.set_num_threads(usual)
    for each, expected in zip(found, formula(out, norm), strict=True):
        assert_equal(each, expected, expected)


def assert_equal(found: Tensor, expected: Tensor, size: Tensor) -> None:
    """Within a few roundings of numbers of a size."""
    exact = expected.double()
    assert bool(((found.double() - exact).abs() <= 8 * torch.finfo(found.dtype).eps * size.abs()).all())
