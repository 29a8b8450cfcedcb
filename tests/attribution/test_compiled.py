"""Programs of forward pass and explanations, without the code that a compiler makes of them."""

import copy
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from guidance.attribution import (
    Attributor,
    BcosContributions,
    CompiledExplanations,
    InputXGradient,
    attribute_pairs,
)
from guidance.errors import InputError
from guidance.models import Classifier, coda_small
from tests.attribution.compiled_checks import (
    SOME,
    UNCOMPILED,
    assert_near,
    check_evaluation,
    check_training,
    explain,
    images_of,
    loss_of,
    tiny,
)


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
