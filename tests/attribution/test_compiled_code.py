"""Compiled code: of a tiny network, and of every family of B-cos networks."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torchvision.ops import StochasticDepth

from guidance.attribution import BcosContributions, CompiledExplanations, attribute_pairs
from guidance.attribution.backend import inductor
from guidance.models import (
    Classifier,
    bcos_convnext,
    bcos_densenet,
    bcos_resnet,
    bcos_resnext50,
    bcos_small,
    bcos_vgg11,
)
from tests.attribution.compiled_checks import (
    SOME,
    assert_near,
    check_evaluation,
    check_training,
    images_of,
    tiny,
)
from tests.attribution.test_bcos import small_vit


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()


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
    check_training(tiny(), backend=inductor, size=16)


def test_compiled_code_of_some_images() -> None:
    check_training(tiny(), backend=inductor, guided=SOME)


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


@pytest.mark.slow
def test_many_images_have_a_program_of_their_own() -> None:
    model = tiny().train()
    compiled = CompiledExplanations(BcosContributions(), 20)
    counters.clear()
    for count in (3, 15, 16, 19):
        images, classes = images_of(20, 16, torch.float32), torch.randint(0, 3, (20,))
        _, (maps,) = compiled.explain(model, images, [classes], torch.arange(count))
        assert maps.shape == (count, 16, 16)
        assert counters["stats"]["unique_graphs"] == 1 + (count >= 16)


@pytest.mark.parametrize("batch_size", [4, pytest.param(16, marks=pytest.mark.slow)])
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
    check_training(bcos_small(3, width=8), layer, dtype, backend=inductor)


@pytest.mark.slow
def test_compiled_code_of_a_small_transformer() -> None:
    """Its positional embedding is computed in torch's default type, whatever the model's."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        check_training(small_vit(), backend=inductor)
    finally:
        torch.set_default_dtype(default)


@pytest.mark.slow
def test_compiled_code_of_pairs() -> None:
    check_evaluation(bcos_small(3, width=8), ["input", "final"], backend=inductor)


def test_little_is_kept_for_the_backward_pass() -> None:
    """Some four tensors as large as what the filters return; six, if nothing was computed again."""
    model = tiny().train()
    images, classes = images_of(4, 64, torch.float32), [torch.zeros(4, dtype=torch.int64)]
    compiled = CompiledExplanations(BcosContributions(), 4)
    compiled.explain(model, images, classes)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compiled.explain(model, images, classes)
    for tensor in (images, *model.parameters(), *model.buffers()):
        kept.pop(tensor.data_ptr(), None)
    of_filters = 4 * (8 + 3) * 32 * 32 * 4
    assert of_filters < sum(kept.values()) < 5 * of_filters
