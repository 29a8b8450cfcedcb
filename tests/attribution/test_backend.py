"""Explanations stay what they are when parts of a program are by kernels of our own."""

import copy
from statistics import median
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import make_boxed_func  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.fx import GraphModule

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.attribution.backend import change, inductor
from guidance.models import (
    BcosConv2d,
    Classifier,
    UncenteredBatchNorm2d,
)
from guidance.models.bcos_classifier import bcos_classifier
from guidance.models.convolution_formulas import FORMULAS
from tests.attribution.compiled_checks import (
    SOME,
    check_evaluation,
    check_training,
    explain,
    images_of,
    loss_of,
)
from tests.models.kernel_calls import noted_calls


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


calls = pytest.fixture(noted_calls)


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
