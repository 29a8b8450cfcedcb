"""Which parts of a program are by kernels of our own, and that explanations stay what they are."""

import copy
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import make_boxed_func  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.attribution.backend import FORMULAS, change, inductor
from guidance.models import (
    BcosConv2d,
    Classifier,
    UncenteredBatchNorm2d,
    channel_sums,
    few_channels,
    filter_gradients,
    kernels,
    winograd,
)
from guidance.models.bcos_classifier import bcos_classifier
from tests.attribution.compiled_checks import (
    SOME,
    check_evaluation,
    check_training,
    explain,
    images_of,
    loss_of,
)

Mode = Literal["fake", "symbolic"]

TILED = torch.ops.guidance.winograd_convolution.default
TILED_GRADIENTS = torch.ops.guidance.winograd_gradients.default
PANELS = torch.ops.guidance.filter_gradients.default
TO_IMAGE = torch.ops.guidance.few_channels_transposed.default
OF_FEW_CHANNELS = torch.ops.guidance.few_channels_gradients.default


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()


def _as_it_is(graph: GraphModule, inputs: Any) -> Any:
    return make_boxed_func(graph)


def _changed(graph: GraphModule, *others: Any, **options: Any) -> Any:
    change(graph.graph)
    return min_cut_rematerialization_partition(graph, *others, **options)


# The formulas and changes of the graph of a compiled program, without the code that takes so long to make.
TILES_UNCOMPILED = aot_autograd(fw_compiler=_as_it_is, decompositions=FORMULAS, partition_fn=_changed)


def network() -> Classifier:
    """Of 32 channels in the middle, with maps of 16 x 16 from images of 32 x 32."""
    layers = nn.Sequential(
        BcosConv2d(6, 32, 3, stride=2, padding=1),
        UncenteredBatchNorm2d(32),
        BcosConv2d(32, 40, 3, padding=1),
        UncenteredBatchNorm2d(40),
        BcosConv2d(40, 3, b=1.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return bcos_classifier(layers, 3, {"mid1": "0", "final": "3"})


def panels_network(kernel: int = 1) -> Classifier:
    """With filters of whole panels, with a stride and, 1x1 ones, without."""
    layers = nn.Sequential(
        BcosConv2d(6, 32, 3, stride=2, padding=1),
        BcosConv2d(32, 64, kernel, stride=2, padding=kernel // 2),
        UncenteredBatchNorm2d(64),
        BcosConv2d(64, 32),
        BcosConv2d(32, 3, b=1.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return bcos_classifier(layers, 3, {"mid1": "1", "final": "4"})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kernels that are called."""
    found: list[str] = []
    call = kernels.call

    def noting(file: str, name: str, *args: Any) -> None:
        found.append(name)
        call(file, name, *args)

    for module in (winograd, filter_gradients, few_channels, channel_sums):
        monkeypatch.setattr(module, "call", noting)
    return found


def test_steps(calls: list[str]) -> None:
    check_training(network(), backend=TILES_UNCOMPILED)
    # Forward, explanation, and the gradients of both, in each of three steps.
    assert calls.count("convolution") == 3 * 4
    assert calls.count("gradients_of_filters") == 3 * 2
    # Values of the filters are computed once for all four.
    assert calls.count("values_of_filters") == 3
    # The first layer's: the explanation, and the gradients of images and explanations.
    assert calls.count("few_channels_transposed") == 3
    assert calls.count("few_channels_gradients") == 3 * 2


def test_steps_by_panels(calls: list[str]) -> None:
    check_training(panels_network(), backend=TILES_UNCOMPILED)
    # Of images and of explanations, of two layers, in each of three steps.
    assert calls.count("filter_gradients") == 12
    # A batch norm's moments, and gradients of its factor, by images and by explanations.
    assert calls.count("moments") == 3
    assert calls.count("products") == 3 * 2


def test_steps_by_panels_of_several_taps(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    check_training(panels_network(3), backend=TILES_UNCOMPILED)
    assert calls.count("filter_gradients") == 12


def test_steps_of_some_images_by_panels(calls: list[str]) -> None:
    check_training(panels_network(), backend=TILES_UNCOMPILED, guided=SOME)
    assert calls.count("filter_gradients") == len(SOME) * 4
    assert calls.count("moments") == len(SOME)
    assert calls.count("products") == len(SOME) * 2


def test_steps_of_some_images(calls: list[str]) -> None:
    check_training(network(), backend=TILES_UNCOMPILED, guided=SOME)
    assert calls.count("convolution") == len(SOME) * 4


def test_float32_steps(calls: list[str]) -> None:
    """Gradients are as near to float64's as ordinary ones are, in the median of five networks.

    How much rounding grows on its way depends on the network: for one of them 3e-4 of the gradients' norm.
    """
    attributor = BcosContributions()
    tiled: list[float] = []
    ordinary: list[float] = []
    for seed in range(5):
        torch.manual_seed(seed)
        torch.compiler.reset()
        model = network().train()
        copies = [copy.deepcopy(model) for _ in range(2)]
        exact = copy.deepcopy(model).double()
        images, classes = images_of(4, 32, torch.float32), [torch.randint(0, 3, (4,))]
        compiled = CompiledExplanations(attributor, 4, TILES_UNCOMPILED)
        truth = gradients(exact, *explain(attributor, exact, images.double(), classes))
        for errors, each, (logits, maps) in (
            (tiled, copies[0], compiled.explain(copies[0], images, classes, None)),
            (ordinary, copies[1], explain(attributor, copies[1], images, classes)),
        ):
            errors.append(float((gradients(each, logits, maps) - truth).norm() / truth.norm()))
    assert calls
    assert median(tiled) < 2e-4
    assert median(tiled) < 3 * median(ordinary)


def gradients(model: Classifier, logits: Tensor, maps: list[Tensor]) -> Tensor:
    """Return those of all parameters, joined, in float64."""
    parts = torch.autograd.grad(loss_of(logits, maps), list(model.parameters()), materialize_grads=True)
    return torch.cat([part.flatten().double() for part in parts])


def test_pairs(calls: list[str]) -> None:
    check_evaluation(network(), ["input", "final"], backend=TILES_UNCOMPILED)
    assert "convolution" in calls
    assert "few_channels_transposed" in calls


def test_compiled_code(calls: list[str]) -> None:
    check_training(network(), backend=inductor)
    assert calls.count("convolution") == 3 * 4
    assert calls.count("values_of_filters") == 3


def test_compiled_code_by_panels(calls: list[str]) -> None:
    check_training(panels_network(), backend=inductor)
    assert calls.count("filter_gradients") == 12
    assert calls.count("moments") == 3
    assert calls.count("products") == 3 * 2


def test_frozen_filters(calls: list[str]) -> None:
    """The gradient of the input alone."""
    x, weight = torch.randn(2, 32, 16, 16, requires_grad=True), torch.randn(32, 32, 3, 3)

    def frozen(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1)

    compiled = torch.compile(frozen, backend=TILES_UNCOMPILED)
    found, expected = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (compiled, frozen))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
    assert calls.count("convolution") == 2
    assert "gradients_of_filters" not in calls


def targets(function: Callable[..., Any], x: Tensor, weight: Tensor, mode: Mode = "fake") -> set[object]:
    graph = make_fx(function, decomposition_table=FORMULAS, tracing_mode=mode)(x, weight)
    return {node.target for node in graph.graph.nodes if node.op == "call_function"}


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
def avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors with which gradients of filters of several taps are torch's."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.mark.usefixtures("avx512")
@pytest.mark.parametrize("name", OTHERS)
def test_what_tiles_are_not_for(name: str) -> None:
    function, arguments = OTHERS[name]

    def with_gradients(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        out = function(x, weight)
        return out, *torch.autograd.grad(out.sum(), (x, weight))

    found = targets(with_gradients, *arguments)
    assert torch.ops.aten.convolution.default in found
    assert torch.ops.aten.convolution_backward.default in found
    assert not {TILED, TILED_GRADIENTS} & found


@pytest.mark.usefixtures("avx512")
def test_filters_alone_are_left_to_torch() -> None:
    def gradient(x: Tensor, weight: Tensor) -> Tensor:
        weight = weight.detach().requires_grad_()
        return torch.autograd.grad(convolve(x, weight).sum(), weight)[0]

    found = targets(gradient, *tensors())
    assert torch.ops.aten.convolution_backward.default in found
    assert TILED_GRADIENTS not in found


def of_weight(function: Callable[..., Tensor], x: Tensor, weight: Tensor) -> Tensor:
    weight = weight.detach().requires_grad_()
    return torch.autograd.grad(function(x, weight).sum(), weight)[0]


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


WITHOUT_AVX512: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]] = {
    "3x3, stride": (partial(F.conv2d, stride=2, padding=1), tensors(size=35)),
    "2x2, stride": (partial(F.conv2d, stride=2), tensors(size=34, kernel=2)),
    "3x3, few tiles": (partial(F.conv2d, padding=1), tensors(images=1, size=8)),
    "1x1, stride, many pixels": (partial(F.conv2d, stride=2), tensors(size=35, kernel=1)),
    "transposed": (
        partial(F.conv_transpose2d, stride=2, padding=1, output_padding=1),
        (torch.randn(2, 64, 8, 8), torch.randn(64, 32, 3, 3)),
    ),
}


@pytest.mark.parametrize("name", WITHOUT_AVX512)
@pytest.mark.parametrize("mode", ["fake", "symbolic"])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_what_panels_are_for_without_longer_vectors(
    name: str, mode: Mode, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    function, arguments = WITHOUT_AVX512[name]
    found = targets(partial(of_weight, function), *arguments, mode)
    assert (PANELS in found) == (capability == "AVX2")


@pytest.mark.parametrize("kernel", [1, 5])
def test_what_panels_are_not_for_without_longer_vectors(kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large filters, and 1x1 ones of many pixels without a stride."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert PANELS not in targets(partial(of_weight, F.conv2d), *tensors(size=21, kernel=kernel))


BY_TORCH: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]] = {
    "many pixels": (F.conv2d, tensors(size=17, kernel=1)),
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
