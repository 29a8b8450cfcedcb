"""Which convolutions, and gradients of them, the formulas give to kernels of our own."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from guidance.models.convolution_formulas import FORMULAS

Mode = Literal["fake", "symbolic"]
TILED = torch.ops.guidance.winograd_convolution.default
TILED_GRADIENTS = torch.ops.guidance.winograd_gradients.default
PANELS = torch.ops.guidance.filter_gradients.default
TO_IMAGE = torch.ops.guidance.few_channels_transposed.default
OF_FEW_CHANNELS = torch.ops.guidance.few_channels_gradients.default


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def targets(function: Callable[..., Any], x: Tensor, weight: Tensor, mode: Mode = "fake") -> set[object]:
    graph = make_fx(function, decomposition_table=FORMULAS, tracing_mode=mode)(x, weight)
    return {node.target for node in graph.graph.nodes if node.op == "call_function"}


def of_both(function: Callable[..., Tensor], x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    out = function(x, weight)
    return out, *torch.autograd.grad(out, (x, weight), torch.ones_like(out))


def of_weight(function: Callable[..., Tensor], x: Tensor, weight: Tensor) -> Tensor:
    weight = weight.detach().requires_grad_()
    return torch.autograd.grad(function(x, weight).sum(), weight)[0]


def tensors(
    images: int = 2, inputs: int = 32, outputs: int = 32, size: int = 16, kernel: int = 3
) -> tuple[Tensor, Tensor]:
    return torch.randn(images, inputs, size, size), torch.randn(outputs, inputs, kernel, kernel)


convolve = partial(F.conv2d, padding=1)


def test_what_tiles_are_for() -> None:
    assert TILED in targets(convolve, *tensors())
    assert TILED in targets(partial(F.conv_transpose2d, padding=1), *tensors())
    x, weight = tensors()
    assert TILED in targets(convolve, x.double(), weight.double())
    assert TILED in targets(convolve, *tensors(), mode="symbolic")


@pytest.mark.parametrize("matrix_unit", [False, True])
@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "AVX512"])
def test_what_tiles_are_for_in_bfloat16(
    capability: str, matrix_unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where a matrix unit makes up for the products that tiles save."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": matrix_unit})
    x, weight = (each.bfloat16() for each in tensors(images=16))
    expected = capability != "DEFAULT" and not matrix_unit
    for function in (convolve, partial(F.conv_transpose2d, padding=1)):
        assert (TILED in targets(function, x, weight)) == expected
        found = targets(partial(of_both, function), x, weight)
        assert (TILED_GRADIENTS in found) == expected
        assert TILED not in targets(function, x[1:], weight)


@pytest.mark.usefixtures("without_matrix_unit")
def test_bfloat16_is_left_to_a_torch_that_tells_of_no_matrix_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = (each.bfloat16() for each in tensors(images=16))
    assert TILED in targets(convolve, x, weight)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert TILED not in targets(convolve, x, weight)


@pytest.mark.usefixtures("without_matrix_unit")
@pytest.mark.parametrize("function", [convolve, partial(F.conv_transpose2d, padding=1)])
def test_bfloat16_by_tiles_is_float32_that_is_rounded(function: Callable[..., Tensor]) -> None:
    x, weight = (each.bfloat16() for each in tensors(images=16))

    def with_input_gradient(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        x = x.detach().requires_grad_()
        out = function(x, weight)
        return out, *torch.autograd.grad(out, x, torch.ones_like(out))

    for both in (partial(of_both, function), with_input_gradient):
        found = make_fx(both, decomposition_table=FORMULAS)(x, weight)(x, weight)
        expected = both(x.float(), weight.float())
        for each, other in zip(found, expected, strict=True):
            assert each.dtype == torch.bfloat16
            # Half a unit in the last place, and what tiles are off.
            torch.testing.assert_close(each.float(), other, rtol=2**-8, atol=1e-3)


OTHERS: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]] = {
    "stride": (partial(F.conv2d, padding=1, stride=2), tensors(size=32)),
    "no padding": (F.conv2d, tensors()),
    "dilation": (partial(F.conv2d, padding=2, dilation=2), tensors()),
    "groups": (partial(F.conv2d, padding=1, groups=2), (tensors()[0], torch.randn(64, 16, 3, 3))),
    "bias": (lambda x, weight: convolve(x, weight, weight.sum((1, 2, 3))), tensors()),
    "other filters": (partial(F.conv2d, padding=2), tensors(kernel=5)),
    "output padding": (
        partial(F.conv_transpose2d, padding=1, stride=2, output_padding=1),
        tensors(size=16),
    ),
    "few channels": (convolve, tensors(inputs=31)),
    "few channels to write to": (convolve, tensors(outputs=31)),
    "few pixels": (convolve, tensors(images=7, size=8)),
    "bfloat16": (convolve, (tensors()[0].bfloat16(), tensors()[1].bfloat16())),
    "one dimension": (partial(F.conv1d, padding=1), (torch.randn(8, 32, 99), torch.randn(32, 32, 3))),
}


@pytest.fixture
def neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors with which gradients of filters of several taps are torch's."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")


@pytest.fixture
def without_matrix_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies bfloat16 in vectors alone."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False})


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors with which more is for panels."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.mark.usefixtures("neither")
@pytest.mark.parametrize("name", OTHERS)
def test_what_tiles_are_not_for(name: str) -> None:
    function, arguments = OTHERS[name]
    found = targets(partial(of_both, function), *arguments)
    assert torch.ops.aten.convolution.default in found
    assert torch.ops.aten.convolution_backward.default in found
    assert not {TILED, TILED_GRADIENTS} & found


def test_gradients_of_filters_alone() -> None:
    found = targets(partial(of_weight, convolve), *tensors())
    assert TILED_GRADIENTS in found
    assert torch.ops.aten.convolution_backward.default not in found


def test_what_panels_are_for() -> None:
    pointwise_weight = torch.randn(64, 32, 1, 1)
    for size, function in ((16, F.conv2d), (31, partial(F.conv2d, stride=2))):
        x = torch.randn(2, 32, size, size)
        for mode in ("fake", "symbolic"):
            assert PANELS in targets(partial(of_weight, function), x, pointwise_weight, mode)
    x = torch.randn(2, 64, 8, 8)
    doubling = partial(F.conv_transpose2d, stride=2, output_padding=1)
    assert PANELS in targets(partial(of_weight, doubling), x, pointwise_weight)
    assert PANELS in targets(partial(of_weight, doubling), x.double(), pointwise_weight.double())
    assert PANELS in targets(partial(of_weight, partial(F.conv2d, padding=1)), *tensors(size=9, kernel=1))


# Whether panels are for them where there is AVX-512, too.
BY_CAPABILITY: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, Tensor], bool]] = {
    "3x3, stride": (partial(F.conv2d, stride=2, padding=1), tensors(size=35), True),
    "2x2, stride": (partial(F.conv2d, stride=2), tensors(size=34, kernel=2), True),
    "3x3, few tiles": (partial(F.conv2d, padding=1), tensors(images=1, size=8), False),
    "1x1, stride, many pixels": (partial(F.conv2d, stride=2), tensors(size=35, kernel=1), False),
    "transposed": (
        partial(F.conv_transpose2d, stride=2, padding=1, output_padding=1),
        (torch.randn(2, 64, 8, 8), torch.randn(64, 32, 3, 3)),
        True,
    ),
}


@pytest.mark.parametrize("name", BY_CAPABILITY)
@pytest.mark.parametrize("mode", ["fake", "symbolic"])
@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "AVX512"])
def test_what_panels_are_for_with_some_vectors(
    name: str, mode: Mode, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    function, arguments, also_longer = BY_CAPABILITY[name]
    found = targets(partial(of_weight, function), *arguments, mode)
    assert (PANELS in found) == {"DEFAULT": False, "AVX2": True, "AVX512": also_longer}[capability]


BY_TORCH: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]] = {
    "many pixels": (F.conv2d, tensors(size=17, kernel=1)),
    "many taps": (F.conv2d, tensors(size=21, kernel=5)),
    "paddings": (partial(F.conv2d, padding=(1, 0)), tensors(size=9, kernel=1)),
    "dilation": (partial(F.conv2d, stride=2, dilation=2), tensors(size=9, kernel=3)),
    "groups": (partial(F.conv2d, groups=2), (torch.randn(2, 128, 8, 8), torch.randn(64, 64, 1, 1))),
    "strides": (partial(F.conv2d, stride=(1, 2)), tensors(kernel=1)),
    "part of a panel": (F.conv2d, tensors(outputs=33, kernel=1)),
    "part of a panel to read": (F.conv2d, tensors(inputs=48, kernel=1)),
    "bias": (lambda x, weight: F.conv2d(x, weight, weight.sum((1, 2, 3))), tensors(kernel=1)),
    "bfloat16": (F.conv2d, (tensors()[0].bfloat16(), tensors(kernel=1)[1].bfloat16())),
    "one dimension": (F.conv1d, (torch.randn(8, 32, 99), torch.randn(32, 32, 1))),
}


@pytest.mark.usefixtures("avx2")
@pytest.mark.parametrize("name", BY_TORCH)
def test_what_panels_are_not_for(name: str) -> None:
    function, arguments = BY_TORCH[name]
    found = targets(partial(of_weight, function), *arguments)
    assert torch.ops.aten.convolution_backward.default in found
    assert PANELS not in found


def test_what_few_channels_are_for() -> None:
    x, weight = torch.randn(2, 6, 16, 16), torch.randn(32, 6, 7, 7)
    stem = partial(F.conv2d, stride=2, padding=3)
    gradient = torch.randn(2, 32, 8, 8)
    back = partial(F.conv_transpose2d, stride=2, padding=3, output_padding=1)
    for mode in ("fake", "symbolic"):
        assert OF_FEW_CHANNELS in targets(partial(of_weight, stem), x, weight, mode)
        assert OF_FEW_CHANNELS in targets(partial(of_weight, back), gradient, weight, mode)
        assert TO_IMAGE in targets(back, gradient, weight, mode)
    assert TO_IMAGE in targets(back, gradient.double(), weight.double())


def test_gradients_of_a_first_layer_are_torchs() -> None:
    """By both operators, and where the input's gradient is wanted too, in rows and columns that differ."""
    x, weight = torch.randn(2, 32, 5, 4, dtype=torch.float64), torch.randn(32, 6, 3, 4, dtype=torch.float64)
    back = partial(F.conv_transpose2d, stride=(2, 3), padding=(1, 0), output_padding=(1, 2))

    def with_gradients(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        out = back(x, weight)
        return out.detach(), *torch.autograd.grad(out.square().sum(), (x, weight))

    graph = make_fx(with_gradients, decomposition_table=FORMULAS)(x, weight)
    assert {TO_IMAGE, OF_FEW_CHANNELS} <= {node.target for node in graph.graph.nodes}
    torch.testing.assert_close(graph(x, weight), with_gradients(x, weight), rtol=1e-12, atol=1e-11)


FEW_BY_TORCH: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]] = {
    "dilation": (partial(F.conv2d, dilation=2), tensors(inputs=6)),
    "groups": (partial(F.conv2d, groups=2), (torch.randn(2, 12, 8, 8), torch.randn(32, 6, 3, 3))),
    "many channels": (F.conv2d, tensors(inputs=16)),
    "part of a panel": (F.conv2d, tensors(inputs=6, outputs=40)),
    "bias": (lambda x, weight: F.conv2d(x, weight, weight.sum((1, 2, 3))), tensors(inputs=6)),
    "bfloat16": (F.conv2d, (tensors(inputs=6)[0].bfloat16(), tensors(inputs=6)[1].bfloat16())),
    "one dimension": (F.conv1d, (torch.randn(2, 6, 99), torch.randn(32, 6, 7))),
}


@pytest.mark.parametrize("name", FEW_BY_TORCH)
def test_what_few_channels_are_not_for(name: str) -> None:
    function, arguments = FEW_BY_TORCH[name]
    found = targets(partial(of_weight, function), *arguments)
    assert torch.ops.aten.convolution_backward.default in found
    assert OF_FEW_CHANNELS not in found
