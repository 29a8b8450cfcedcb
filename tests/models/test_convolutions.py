"""Convolutions as layers call them, by kernels of our own and by torch."""

import copy
import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.attribution import BcosContributions, attribute_pairs
from guidance.models import BcosConv2d, Classifier, bcos_resnet, convolutions, cpu_kernels, kernels
from guidance.models.convolution_formulas import Geometry
from tests.attribution.compiled_checks import assert_near, explain, loss_of
from tests.attribution.test_backend import network, panels_network
from tests.models.kernel_calls import noted_calls

calls = pytest.fixture(noted_calls)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def step(model: Classifier, images: Tensor, rounds: int = 1) -> tuple[Tensor, ...]:
    """Return the loss of a guided step, maps and gradients."""
    classes = [torch.arange(len(images)) % 3] * rounds
    logits, maps = explain(BcosContributions("input"), model, images, classes)
    loss = loss_of(logits, maps)
    return loss, *maps, *torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)


def check_step(model: Classifier, tolerance: float = 1e-9, dtype: torch.dtype = torch.float64) -> None:
    """A step by kernels is the same as by torch, and changes statistics as it does."""
    model = model.to(dtype).train()
    other = copy.deepcopy(model)
    images = torch.rand(4, 3, 32, 32, dtype=dtype)
    with cpu_kernels():
        found = step(model, images)
    for each, expected in zip(found, step(other, images), strict=True):
        assert_near(each, expected, tolerance)
    for (name, buffer), expected in zip(model.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, msg=name)


def test_step_by_tiles(calls: list[str]) -> None:
    check_step(network())
    # Of 4 layers; that of B = 1.5 is torch's.
    assert calls.count("bcos_transform") == 2
    assert calls.count("bcos_transform_gradients") == 2
    # Forward, explanation, and the gradients of both.
    assert calls.count("convolution") == 4
    assert calls.count("gradients_of_filters") == 2
    # Values of the filters are computed once for all four.
    assert calls.count("values_of_filters") == 1
    # The first layer's: the explanation, and the gradients of images and explanations.
    assert calls.count("few_channels_transposed") == 1
    assert calls.count("few_channels_gradients") == 2


def test_step_by_panels(calls: list[str]) -> None:
    check_step(panels_network())
    # Of images and of explanations, of two layers.
    assert calls.count("filter_gradients") == 4
    # A batch norm's moments, and gradients of its factor, by images and by explanations.
    assert calls.count("moments") == 1
    assert calls.count("products") == 2


def test_step_by_panels_of_several_taps(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    check_step(panels_network(3))
    assert calls.count("filter_gradients") == 4


def test_step_in_float32(calls: list[str]) -> None:
    check_step(network(), 2e-4, torch.float32)
    assert "convolution" in calls


def test_gradients_of_the_double_backward_route(calls: list[str]) -> None:
    """Of gradients of the images with nothing held constant."""
    model = network().double().eval()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64, requires_grad=True)

    def gradients() -> tuple[Tensor, ...]:
        (gradient,) = torch.autograd.grad(model(images)[:, 0].sum(), images, create_graph=True)
        return gradient, *torch.autograd.grad(gradient.square().sum(), [images, *model.parameters()])

    with cpu_kernels():
        found = gradients()
    assert "convolution" in calls
    for each, expected in zip(found, gradients(), strict=True):
        assert_near(each, expected, 1e-9)


def test_evaluation(calls: list[str]) -> None:
    model = network().double().eval()
    images = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    pairs = torch.tensor([0, 1, 1, 3]), torch.tensor([0, 1, 2, 1])
    explained = partial(attribute_pairs, BcosContributions(["input", "mid1"]), model, images, *pairs)
    with cpu_kernels():
        logits, maps = explained()
    assert {"convolution", "few_channels_transposed"} <= set(calls)
    expected_logits, expected = explained()
    assert_near(logits, expected_logits, 1e-9)
    for layer, each in maps.items():
        assert_near(each, expected[layer], 1e-9)


GEOMETRIES = {
    "3x3": (3, Geometry(padding=(1, 1))),
    "3x3, stride": (3, Geometry((2, 2), (1, 1))),
    "1x1": (1, Geometry()),
    "1x1, stride": (1, Geometry((2, 2))),
    "other": (3, Geometry((2, 1), (0, 1), (2, 1))),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("channels", [6, 32])
def test_all_derivatives(name: str, channels: int) -> None:
    """A transposed convolution and its first, second and third derivatives are torch's."""
    taps, (stride, padding, dilation, *_) = GEOMETRIES[name]
    x = torch.randn(2, 32, 16, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(32, channels, taps, taps, dtype=torch.float64, requires_grad=True)

    def derivatives(transposed: Any) -> list[Tensor]:
        out = transposed(x, weight, Geometry(stride, padding, dilation, True))
        found = [out]
        for _ in range(3):
            found += torch.autograd.grad(found[-1].cos().sum(), (x, weight), create_graph=True)
        return found

    with cpu_kernels():
        found = derivatives(convolutions.transposed)
    expected = derivatives(
        lambda x, weight, _: F.conv_transpose2d(x, weight, None, stride, padding, dilation=dilation)
    )
    for each, other in zip(found, expected, strict=True):
        assert_near(each, other, 1e-8)


@pytest.mark.parametrize("count", [0, 1])
def test_few_images(count: int) -> None:
    x, weight = torch.rand(count, 32, 12, 12), torch.rand(32, 32, 3, 3)
    with cpu_kernels():
        found = convolutions.convolution(x, weight, Geometry(padding=(1, 1)))
        gradients = convolutions.gradients_of_filters(found, x, weight, Geometry(padding=(1, 1)))
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=1))
    assert gradients.shape == weight.shape
    assert count or not gradients.any()


def test_networks_without_any_image() -> None:
    model = bcos_resnet(18, 3).eval()
    with cpu_kernels(), torch.no_grad():
        assert model(torch.rand(0, 3, 32, 32)).shape == (0, 3)


def test_other_programs_are_torchs(calls: list[str]) -> None:
    layer, x = BcosConv2d(32, 32, 3, padding=1), torch.rand(2, 32, 16, 16)
    layer(x)
    with cpu_kernels(False):
        layer(x)
    with cpu_kernels(), cpu_kernels(False):
        layer(x)
    assert not calls
    with cpu_kernels():
        with pytest.raises(RuntimeError), cpu_kernels(False):
            layer(x[:, :31])
        layer(x)
    assert calls == ["values_of_filters", "convolution", "bcos_transform"]
    layer(x)
    assert len(calls) == 3
    with cpu_kernels(), torch.device("meta"):
        assert copy.deepcopy(layer).to("meta")(torch.rand(2, 32, 16, 16)).device.type == "meta"
    assert len(calls) == 3


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from torch._inductor.codecache import CppCodeCache

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nIn: nowhere")

    monkeypatch.setattr(CppCodeCache, "load", fail)
    monkeypatch.setattr(kernels, "_failed", set())
    kernels.library.cache_clear()
    yield
    kernels.library.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler(caplog: pytest.LogCaptureFixture) -> None:
    check_step(panels_network(), tolerance=1e-12)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "kernels for the CPU (bcos_transform) cannot be compiled, so that steps are slower: No working C++ "
        "compiler found. They need a C++ compiler; CXX names another one"
    ]


def test_long_compilation_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from torch._inductor.codecache import CppCodeCache

    load = CppCodeCache.load
    told: list[int] = []

    def slowly(*args: Any, **options: Any) -> Any:
        end = time.monotonic() + 60
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.01)
        told.append(len(caplog.records))
        return load(*args, **options)

    monkeypatch.setattr(kernels, "_SECONDS_IN_SILENCE", 0.01)
    monkeypatch.setattr(CppCodeCache, "load", slowly)
    kernels.library.cache_clear()
    with caplog.at_level(logging.INFO):
        assert kernels.ready("filter_gradients")
    assert [record.message for record in caplog.records] == [
        "compiling kernels for the CPU (filter_gradients), once: this takes some seconds"
    ]
    assert told == [1]


def test_steps_are_the_same_bit_for_bit() -> None:
    """By two threads."""
    usual = torch.get_num_threads()
    images = torch.rand(4, 3, 32, 32)
    try:
        torch.set_num_threads(2)
        for model in (network().train(), panels_network().train()):
            state = copy.deepcopy(model.state_dict())
            found = []
            for _ in range(2):
                model.load_state_dict(state)
                with cpu_kernels():
                    found.append(step(model, images))
            assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    finally:
        torch.set_num_threads(usual)
