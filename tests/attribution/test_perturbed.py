"""What all perturbation attributions share: bounded memory, no graph, no trace."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guidance.attribution.ablation_cam import AblationCAM
from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.occlusion import Occlusion
from guidance.attribution.pairs import attribute_pairs
from guidance.attribution.perturbed import PerturbationAttributor
from guidance.attribution.rise import RISE
from guidance.attribution.score_cam import ScoreCAM
from guidance.errors import InputError
from tests.attribution.small_networks import (
    NETWORKS,
    batch_sizes,
    run_one,
    small_images,
    small_resnet,
    small_vit,
)

CLASSES = torch.tensor([2, 0, 1])
METHODS: list[Callable[..., PerturbationAttributor]] = [
    AblationCAM,
    ScoreCAM,
    lambda layer, **options: Occlusion(layer, window=2, stride=1, **options),
    lambda layer, **options: RISE(layer, masks=7, grid=3, **options),
]
all_methods = pytest.mark.parametrize("method", METHODS, ids=["ablation", "score", "occlusion", "rise"])


def maps_of(attributor: PerturbationAttributor, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return attributor.attribute_layers(attributor.forward(model, images), CLASSES[: len(images)])


@pytest.mark.parametrize("network", list(NETWORKS))
def test_changed_logits_equal_one_change_at_a_time(network: str) -> None:
    build, layers = NETWORKS[network]
    model, images, factors = build(), small_images(), torch.tensor([0.0, 1.0, -2.0, 0.5])
    for layer in ["input", *layers]:
        attributor = AblationCAM(layer, chunk=5)
        logits = attributor.changed_logits(
            attributor.forward(model, images),
            layer,
            CLASSES,
            4,
            lambda a, image, index: a * (factors[index] + image)[:, None, None, None],
        )
        assert not logits.requires_grad
        expected = torch.zeros(3, 4, dtype=torch.float64)
        for i, factor in product(range(3), range(4)):
            one, _ = run_one(model, images[i], layer, partial(torch.mul, factors[factor] + i))
            expected[i, factor] = one[CLASSES[i]]
        torch.testing.assert_close(logits, expected)


@all_methods
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_no_pass_is_larger_than_the_chunk(method: Any, chunk: int) -> None:
    model, images = small_resnet(), small_images(3, 16, 16)
    attributor = method(["mid1", "final"], chunk=chunk)
    forward = attributor.forward(model, images)
    sizes = batch_sizes(model)
    attributor.attribute_layers(forward, CLASSES)
    assert max(sizes) == chunk
    # All but the last pass of each round are full; a round is a layer with changes or without.
    assert sum(size < chunk for size in sizes) <= 4


@all_methods
def test_maps_do_not_depend_on_the_chunk_or_the_batch(method: Any) -> None:
    model, images = small_resnet(), small_images(3, 16, 24)
    expected = maps_of(method(["mid1", "final"], chunk=1000), model, images)
    for chunk in (1, 4):
        maps = maps_of(method(["mid1", "final"], chunk=chunk), model, images)
        torch.testing.assert_close(maps, expected)
    alone = method("mid1", chunk=3)
    one = alone.attribute(alone.forward(model, images[1:2]), CLASSES[1:2])
    torch.testing.assert_close(one, expected["mid1"][1:2])


@all_methods
@pytest.mark.parametrize("network", list(NETWORKS))
def test_several_layers_equal_each_alone(method: Any, network: str) -> None:
    build, layers = NETWORKS[network]
    model, images = build(), small_images(2)
    maps = maps_of(
        method([*layers, "input"] if method is not METHODS[2] else layers, chunk=64), model, images
    )
    assert any(own.abs().sum() > 0 for own in maps.values())
    for layer, own in maps.items():
        torch.testing.assert_close(own, maps_of(method(layer, chunk=64), model, images)[layer])


@all_methods
def test_pairs_are_explained_one_by_one(method: Any) -> None:
    model, images = small_resnet(), small_images(3, 16, 16)
    attributor = method("final", chunk=8)
    pair_images, pair_classes = torch.tensor([2, 0, 2, 2]), torch.tensor([1, 2, 0, 2])
    _, maps = attribute_pairs(attributor, model, images, pair_images, pair_classes)
    for i, k, own in zip(pair_images, pair_classes, maps["final"], strict=True):
        forward = attributor.forward(model, images[i : i + 1])
        torch.testing.assert_close(own, attributor.attribute(forward, k[None])[0])


@all_methods
def test_no_graph_is_kept_and_no_trace_is_left(method: Any) -> None:
    model, images = small_vit(), small_images(2)
    attributor = method("encoder.layers.encoder_layer_1", chunk=4)
    forward = attributor.forward(model, images)
    graphs: list[bool] = []
    hook = model.register_forward_hook(lambda _, __, logits: graphs.append(logits.requires_grad))
    maps = attributor.attribute(forward, CLASSES[:2])
    hook.remove()
    assert len(graphs) > 2
    assert not any(graphs)
    assert not maps.requires_grad
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    # The logits of the first pass can still be trained on.
    forward.logits.sum().backward()


@all_methods
def test_a_model_in_training_is_left_as_it_is(method: Any) -> None:
    model, images = small_resnet(), small_images(2, 16, 16)
    attributor = method("final", chunk=5)
    expected = attributor.attribute(attributor.forward(model, images), CLASSES[:2])
    forward = attributor.forward(model, images)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.testing.assert_close(attributor.attribute(forward, CLASSES[:2]), expected)
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


@all_methods
def test_no_images_give_no_maps(method: Any) -> None:
    attributor = method("final")
    forward = attributor.forward(small_resnet(), small_images(1, 16, 16)[:0])
    assert attributor.attribute(forward, CLASSES[:0]).shape == (0, 4, 4)


@all_methods
def test_a_graph_is_refused(method: Any) -> None:
    model, images = small_resnet(), small_images(1, 16, 16)
    attributor = method("final")
    forward = attributor.forward(model, images)
    with pytest.raises(InputError, match=r"cannot guide: its maps have no gradient.*guide with .*InputXGrad"):
        attributor.attribute(forward, CLASSES[:1], create_graph=True)


@all_methods
def test_hooks_are_removed_when_the_model_fails(method: Any) -> None:
    model, images = small_resnet(), small_images(1, 16, 16)
    attributor = method("final")
    forward = attributor.forward(model, images)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    handle = model.get_submodule("network.5").register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        attributor.attribute(forward, CLASSES[:1])
    handle.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("method", METHODS[:3], ids=["ablation", "score", "occlusion"])
def test_autocast_rounds_the_first_pass_only(method: Any) -> None:
    """A rounding of the logits by 1 % would be larger than what a single change does to them."""
    model, images = small_resnet().float(), small_images().float()
    model.get_parameter("network.6.bias").data.fill_(50.0)
    attributor = method("final", chunk=64)
    exact = attributor.attribute(attributor.forward(model, images), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    assert maps.dtype == torch.float32
    assert torch.cosine_similarity(maps.flatten(1), exact.flatten(1)).min() > 0.98


def test_unchanged_logits_are_those_of_the_model() -> None:
    model, images = small_vit(), small_images()
    attributor = Occlusion("encoder.ln", window=1, stride=1)
    forward: ForwardPass = attributor.forward(model, images)
    logits = attributor.unchanged_logits(forward, CLASSES)
    torch.testing.assert_close(logits[:, 0], forward.logits.detach()[range(3), CLASSES])


@all_methods
def test_empty_chunk_is_refused(method: Any) -> None:
    with pytest.raises(InputError, match=r"attributor\.chunk must be at least 1 image; got 0"):
        method("final", chunk=0)
