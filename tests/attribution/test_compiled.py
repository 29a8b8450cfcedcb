"""Compiled programs against the attributor itself: losses, maps, gradients and statistics of many batches."""

import copy
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch._inductor import config as inductor
from torchvision.ops import StochasticDepth

from guidance.attribution import (
    Attributor,
    BcosContributions,
    CompiledExplanations,
    InputXGradient,
    attribute_pairs,
)
from guidance.errors import InputError
from guidance.losses import EnergyLoss
from guidance.models import (
    BcosConv2d,
    Classifier,
    UncenteredBatchNorm2d,
    bcos_convnext,
    bcos_densenet,
    bcos_resnet,
    bcos_resnext50,
    bcos_small,
    bcos_vgg11,
    coda_small,
)
from guidance.models.bcos_classifier import bcos_classifier
from tests.attribution.test_bcos import small_vit

# Automatic differentiation and all shapes of a compiled program, without the code that takes so long to make.
UNCOMPILED = "aot_eager"


def tiny() -> Classifier:
    network = nn.Sequential(
        BcosConv2d(6, 8, 3, stride=2, padding=1),
        UncenteredBatchNorm2d(8),
        BcosConv2d(8, 3, b=1.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return bcos_classifier(network, 3, {"mid1": "0", "final": "1"})


def images_of(count: int, size: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(count, 3, size, size, dtype=dtype)


def loss_of(logits: Tensor, maps: list[Tensor]) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(logits.shape, generator=generator) < 0.4).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    for of_round in maps:
        masks = torch.rand(of_round.shape, generator=generator) < 0.3
        loss = loss + EnergyLoss()(of_round, masks).mean()
    return loss


def explain(attributor: Attributor, model: Classifier, images: Tensor, classes: list[Tensor]) -> Any:
    forward = attributor.forward(model, images)
    return forward.logits, [attributor.attribute(forward, each, create_graph=True) for each in classes]


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * max(largest, 1e-6))


def check_training(
    model: Classifier,
    layer: str = "input",
    dtype: torch.dtype = torch.float64,
    rounds: int = 1,
    size: int = 32,
    backend: str = UNCOMPILED,
    explanation: str | None = None,
    guided: Sequence[list[int] | None] = (None,) * 3,
) -> None:
    """Steps on several batches are equal, by one program that is compiled once."""
    tolerance = 2e-4 if dtype == torch.float32 or explanation else 1e-9
    images_in_batch = 4 if None in guided else 8
    model = model.to(dtype).train()
    other = copy.deepcopy(model)
    attributor = BcosContributions(layer, explanation)
    compiled = CompiledExplanations(attributor, images_in_batch, backend)
    assert compiled.fits(model)
    counters.clear()
    for rows in guided:
        images = images_of(images_in_batch, size, dtype)
        classes = list(torch.randint(0, 3, (rounds, images_in_batch)))
        few = None if rows is None else torch.tensor(rows)
        logits, maps = compiled.explain(model, images, classes, few)
        expected_logits, expected_maps = explain(attributor, other, images, classes)
        if rows is not None:
            expected_maps = [of_round[rows] for of_round in expected_maps]
        loss, expected = loss_of(logits, maps), loss_of(expected_logits, expected_maps)
        assert len(maps) == rounds
        torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0)
        for of_round, expected_map in zip(maps, expected_maps, strict=True):
            assert_near(of_round, expected_map, tolerance)
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        theirs = torch.autograd.grad(expected, list(other.parameters()), materialize_grads=True)
        for gradient, expected_gradient in zip(gradients, theirs, strict=True):
            assert_near(gradient, expected_gradient, tolerance)
        for (name, buffer), expected_buffer in zip(model.named_buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(buffer, expected_buffer, msg=name)
            assert not buffer.requires_grad, name
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def check_evaluation(model: Classifier, layers: list[str], size: int = 32, backend: str = UNCOMPILED) -> None:
    """Maps of any number of pairs are equal, by two programs that are compiled once; no statistics change."""
    model = model.double().eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    attributor = BcosContributions(layers)
    compiled = CompiledExplanations(attributor, 8, backend)
    counters.clear()
    for count, pairs in ((8, 8), (8, 13), (3, 2), (3, 9), (1, 1)):
        images = images_of(count, size, torch.float64)
        of_images, of_classes = torch.randint(0, count, (pairs,)), torch.randint(0, 3, (pairs,))
        logits, maps = compiled.attribute_pairs(model, images, of_images, of_classes)
        expected_logits, expected = attribute_pairs(attributor, model, images, of_images, of_classes)
        assert_near(logits, expected_logits, 1e-9)
        assert logits.shape == (count, 3)
        assert list(maps) == layers
        for layer in layers:
            assert not maps[layer].requires_grad
            assert_near(maps[layer], expected[layer], 1e-9)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()


@pytest.mark.parametrize(
    "layer",
    ["input", pytest.param("mid1", marks=pytest.mark.slow), pytest.param("final", marks=pytest.mark.slow)],
)
def test_training_steps_of_a_tiny_network(layer: str) -> None:
    check_training(tiny(), layer)


def test_training_steps_in_float32() -> None:
    check_training(tiny(), dtype=torch.float32)


def test_training_steps_with_an_explanation_in_bfloat16() -> None:
    check_training(tiny(), explanation="bfloat16")


@pytest.mark.parametrize("rounds", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_several_classes_of_each_image_or_none(rounds: int) -> None:
    check_training(tiny(), rounds=rounds)


SOME: list[list[int]] = [[5], [6, 1], [7, 0, 3, 2, 5, 1], [1, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize("layer", ["input", "mid1", "final"])
def test_some_images_alone(layer: str) -> None:
    """Any number of eight, by one program."""
    check_training(tiny(), layer, rounds=2, guided=SOME)


def test_no_image_at_all() -> None:
    model, none = tiny(), torch.zeros(0, dtype=torch.int64)
    compiled = CompiledExplanations(BcosContributions(), 3, UNCOMPILED)
    images = images_of(3, 16, torch.float32)
    logits, (maps,) = compiled.explain(model.eval(), images, [torch.tensor([0, 1, 2])], none)
    torch.testing.assert_close(logits, model(images))
    assert maps.shape == (0, 16, 16)


def test_the_only_image() -> None:
    """A program for some images needs two."""
    model = tiny()
    compiled = CompiledExplanations(BcosContributions(), 1, UNCOMPILED)
    image, classes = images_of(1, 16, torch.float32), torch.tensor([2])
    _, (maps,) = compiled.explain(model, image, [classes], torch.tensor([0]))
    _, (expected,) = compiled.explain(model, image, [classes])
    torch.testing.assert_close(maps, expected)


def test_pairs_of_a_tiny_network() -> None:
    check_evaluation(tiny(), ["input", "mid1", "final"])


def test_a_network_in_evaluation_mode_is_trained() -> None:
    """Statistics that are held constant have no part in the gradient, and stay."""
    model = tiny().double()
    model.network.get_submodule("1").eval()
    other = copy.deepcopy(model)
    attributor = BcosContributions()
    images, classes = images_of(3, 16, torch.float64), [torch.tensor([0, 1, 2])]
    # The mode is the module's own: check_training would set it.
    logits, maps = CompiledExplanations(attributor, 3, UNCOMPILED).explain(model, images, classes)
    expected = loss_of(*explain(attributor, other, images, classes))
    gradients = torch.autograd.grad(loss_of(logits, maps), list(model.parameters()))
    for gradient, theirs in zip(
        gradients, torch.autograd.grad(expected, list(other.parameters())), strict=True
    ):
        assert_near(gradient, theirs, 1e-9)
    assert not any(buffer.any() for name, buffer in model.named_buffers() if "tracked" in name)


def test_modes_have_programs_of_their_own() -> None:
    model = tiny().double()
    attributor = BcosContributions()
    compiled = CompiledExplanations(attributor, 3, UNCOMPILED)
    images, classes = images_of(3, 16, torch.float64), [torch.tensor([0, 1, 2])]
    of_training, _ = compiled.explain(model.train(), images, classes)
    of_evaluation, _ = compiled.explain(model.eval(), images, classes)
    assert (of_training - of_evaluation).abs().max() > 1e-3
    torch.testing.assert_close(of_evaluation, model(images))


def test_parameters_may_be_replaced_between_steps() -> None:
    """As by loading a checkpoint, or by moving the model."""
    model, images = tiny().double().eval(), images_of(3, 16, torch.float64)
    compiled = CompiledExplanations(BcosContributions(), 3, UNCOMPILED)
    compiled.explain(model, images, [])
    with torch.no_grad():
        model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()}, assign=True)
    torch.testing.assert_close(compiled.explain(model, images, [])[0], model(images))


def test_batch_without_pairs() -> None:
    model, images = tiny().eval(), images_of(2, 16, torch.float32)
    none = torch.zeros(0, dtype=torch.int64)
    logits, maps = CompiledExplanations(BcosContributions(), 3).attribute_pairs(model, images, none, none)
    torch.testing.assert_close(logits, model(images))
    assert maps["input"].shape == (0, 1, 1)


def test_batch_of_more_images_is_explained_all_the_same() -> None:
    model, images = tiny().eval(), images_of(4, 16, torch.float32)
    pairs = torch.tensor([0, 3, 3]), torch.tensor([2, 0, 1])
    attributor = BcosContributions()
    _, maps = CompiledExplanations(attributor, 3).attribute_pairs(model, images, *pairs)
    torch.testing.assert_close(maps, attribute_pairs(attributor, model, images, *pairs)[1])


def with_dropout() -> Classifier:
    model = tiny()
    cast(nn.Sequential, model.network).append(nn.Dropout(0.5))
    return model


@pytest.mark.parametrize(
    ("build", "attributor", "message"),
    [
        (tiny, InputXGradient(), "InputXGradient is not compiled, only attributor=bcos"),
        (partial(coda_small, 3), BcosContributions(), "this network is not compiled"),
        (with_dropout, BcosContributions(), "without dropout"),
    ],
)
def test_what_does_not_fit_is_told_once(
    build: Callable[[], Classifier], attributor: Attributor, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = build().train()
    compiled = CompiledExplanations(attributor, 3)
    with caplog.at_level(logging.WARNING):
        assert not compiled.fits(model)
        assert not compiled.fits(model)
    assert [message in record.message for record in caplog.records] == [True]


def test_pairs_of_what_does_not_fit_are_explained_all_the_same() -> None:
    model, images = tiny().eval(), images_of(2, 16, torch.float32)
    pairs = torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1])
    attributor = InputXGradient()
    logits, maps = CompiledExplanations(attributor, 3).attribute_pairs(model, images, *pairs)
    expected_logits, expected = attribute_pairs(attributor, model, images, *pairs)
    torch.testing.assert_close(logits, expected_logits)
    torch.testing.assert_close(maps["input"], expected["input"])


def test_what_takes_so_long_is_told(caplog: pytest.LogCaptureFixture) -> None:
    compiled = CompiledExplanations(BcosContributions(), 3, UNCOMPILED)
    with caplog.at_level(logging.INFO, "guidance"):
        for _ in range(2):
            compiled.explain(tiny(), images_of(3, 16, torch.float32), [torch.zeros(3, dtype=torch.int64)])
    begun, ended = (record.message for record in caplog.records)
    assert begun == "trainer.compile: compiling the training step; this may take minutes"
    assert re.fullmatch(r"trainer.compile: the training step: \d+ s", ended)


def test_no_compiler() -> None:
    compiled = CompiledExplanations(BcosContributions(), 3)
    without = inductor.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False})
    with without, pytest.raises(InputError, match=r"torch.compile failed: .* C\+\+ compiler"):
        compiled.explain(tiny(), images_of(3, 16, torch.float32), [])


def convnext() -> Classifier:
    """Without its stochastic depth, with which training steps are not compiled."""
    model = bcos_convnext("tiny", 3)
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    return model


FAMILIES: list[tuple[Callable[[], Classifier], int]] = [
    (partial(bcos_small, 3, width=8), 32),
    (small_vit, 32),
    (partial(bcos_densenet, 121, 3), 32),
    (convnext, 32),
    (partial(bcos_resnext50, 3), 32),
    (partial(bcos_resnet, 50, 3), 32),
    (partial(bcos_vgg11, 3), 64),
]


@pytest.mark.slow
@pytest.mark.parametrize(("build", "size"), FAMILIES)
def test_steps_and_pairs_of_every_family(build: Callable[[], Classifier], size: int) -> None:
    model = build()
    check_training(model, size=size)
    check_training(model, size=size, guided=[[5], [7, 0, 3]])
    check_evaluation(model, ["input"], size=size)


def test_compiled_code_of_a_tiny_network() -> None:
    check_training(tiny(), backend="inductor", size=16)


def test_compiled_code_of_some_images() -> None:
    check_training(tiny(), backend="inductor", guided=SOME)


def test_compiled_code_is_the_same_for_any_number_of_images() -> None:
    """In float32 torch sums more than 4,096 values in another way; 4 maps of 32 x 32 have as many."""
    model = tiny().train()
    compiled = CompiledExplanations(BcosContributions(), 8)
    counters.clear()
    for rows in SOME:
        images, classes = images_of(8, 64, torch.float32), torch.randint(0, 3, (8,))
        _, (maps,) = compiled.explain(model, images, [classes], torch.tensor(rows))
        maps.square().sum().backward()
        assert maps.shape == (len(rows), 64, 64)
    assert counters["stats"]["unique_graphs"] == 1


def test_many_images_have_a_program_of_their_own() -> None:
    model = tiny().train()
    compiled = CompiledExplanations(BcosContributions(), 20)
    counters.clear()
    for count in (3, 15, 16, 19):
        images, classes = images_of(20, 16, torch.float32), torch.randint(0, 3, (20,))
        _, (maps,) = compiled.explain(model, images, [classes], torch.arange(count))
        assert maps.shape == (count, 16, 16)
        assert counters["stats"]["unique_graphs"] == 1 + (count >= 16)


def test_processes_have_one_program_for_few_and_many_images() -> None:
    model, other = tiny().train(), tiny().train()
    other.load_state_dict(model.state_dict())
    compiled, attributor = CompiledExplanations(BcosContributions(), 20, UNCOMPILED), BcosContributions()
    counters.clear()
    for count in (3, 19):
        images, classes = images_of(20, 16, torch.float32), torch.randint(0, 3, (20,))
        rows = torch.randperm(20)[:count]
        _, (maps,) = compiled.explain(model, images, [classes], rows, same_program=True)
        _, (expected,) = explain(attributor, other, images, [classes])
        assert_near(maps, expected[rows], 1e-4)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("batch_size", [4, 16])
def test_compiled_code_is_the_same_for_any_number_of_pairs(batch_size: int) -> None:
    model, attributor = tiny().eval(), BcosContributions()
    compiled = CompiledExplanations(attributor, batch_size)
    counters.clear()
    for count in (3, 1, 16, 17, 70):
        images = images_of(batch_size, 32, torch.float32)
        pairs = torch.randint(0, batch_size, (count,)), torch.randint(0, 3, (count,))
        _, maps = compiled.attribute_pairs(model, images, *pairs)
        assert_near(maps["input"], attribute_pairs(attributor, model, images, *pairs)[1]["input"], 1e-4)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", ["input", "mid2", "final"])
def test_compiled_code_of_a_small_network(layer: str, dtype: torch.dtype) -> None:
    check_training(bcos_small(3, width=8), layer, dtype, backend="inductor")


@pytest.mark.slow
def test_compiled_code_of_pairs() -> None:
    check_evaluation(bcos_small(3, width=8), ["input", "final"], backend="inductor")
