"""Integrated Gradients against captum, completeness, and what becomes of a model in training."""

import copy
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guidance.attribution.forward_pass import evaluation_mode
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.integrated_gradients import IntegratedGradients
from guidance.errors import InputError
from guidance.models.bcos_layers import UncenteredBatchNorm2d
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
    lively,
)
from tests.attribution.small_networks import small_bcos, small_images, small_resnet, small_vit

CLASSES = torch.tensor([2, 0, 1])
NORM = "encoder.layers.encoder_layer_1.ln_1"


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_equals_captum(chunk: int) -> None:
    model, images = small_resnet(), small_images(width=24)
    encoded = model.encoding(images)
    exact = captum.attr.IntegratedGradients(model.network)
    at_input = exact.attribute(encoded, baselines=0, target=CLASSES, n_steps=7).sum(1)
    # The network from the layer on, as a network of its own: there the baseline is 0 at the layer.
    layers = list(model.network.children())
    activation = nn.Sequential(*layers[:3])(encoded).detach()
    at_layer = captum.attr.IntegratedGradients(nn.Sequential(*layers[3:]))
    expected = at_layer.attribute(activation, baselines=0, target=CLASSES, n_steps=7).sum(1)
    attributor = IntegratedGradients(["input", "mid1"], steps=7, chunk=chunk)
    maps = attributor.attribute_layers(attributor.forward(model, images), CLASSES)
    torch.testing.assert_close(maps["input"], at_input)
    torch.testing.assert_close(maps["mid1"], expected)
    assert not maps["mid1"].requires_grad


def test_equals_captum_at_a_layer_that_a_black_image_leaves_at_zero() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(20, 3),
    ).double()
    images = small_images(height=9, width=8)
    layer = captum.attr.LayerIntegratedGradients(model, model[1])
    expected = layer.attribute(images, baselines=torch.zeros_like(images), target=CLASSES, n_steps=6)
    attributor = IntegratedGradients("1", steps=6, chunk=4)
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    torch.testing.assert_close(maps, expected.sum(1).detach())


def test_equals_a_slow_loop_at_the_tokens_of_a_vision_transformer() -> None:
    model, images = lively(small_vit()), small_images()
    attributor = IntegratedGradients(NORM, steps=3, chunk=2)
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    points, weights = np.polynomial.legendre.leggauss(3)
    for image, k, attribution in zip(images, CLASSES, maps, strict=True):
        expected = torch.zeros(16, dtype=torch.float64)
        for point, weight in zip(points, weights, strict=True):
            kept: list[Tensor] = []

            def interpolate(
                _: Any, __: Any, tokens: Tensor, kept: list[Tensor] = kept, t: Any = point
            ) -> Any:
                moved = tokens[:, 1:].detach() * (t + 1) / 2
                kept += [tokens[0, 1:].detach(), moved.requires_grad_()]
                return torch.cat([tokens[:, :1], moved], dim=1)

            handle = model.get_submodule(NORM).register_forward_hook(interpolate)
            logit = model(image[None])[0, k]
            handle.remove()
            (gradient,) = torch.autograd.grad(logit, kept[1])
            expected += weight / 2 * (kept[0] * gradient[0]).sum(1)
        torch.testing.assert_close(attribution, expected.reshape(4, 4))


def test_completeness() -> None:
    torch.manual_seed(0)
    smooth = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.Tanh(), nn.Conv2d(6, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)
    ).double()
    images = small_images(height=9, width=9)
    attributor = IntegratedGradients(["input", "1"], steps=30, chunk=30)
    forward = attributor.forward(smooth, images)
    for layer, maps in attributor.attribute_layers(forward, CLASSES).items():
        nothing = forward.run_from(layer, torch.zeros_like(forward.activations[layer]))
        expected = (forward.logits - nothing).gather(1, CLASSES[:, None])[:, 0].detach()
        torch.testing.assert_close(maps.sum((1, 2)), expected, rtol=1e-9, atol=1e-9)
        assert expected.abs().min() > 1e-3


def test_completeness_of_a_piecewise_linear_network_takes_more_steps() -> None:
    model, images = small_resnet(), small_images()
    errors = []
    for steps in (5, 200):
        attributor = IntegratedGradients("input", steps, chunk=50)
        forward = attributor.forward(model, images)
        maps = attributor.attribute(forward, CLASSES)
        nothing = model.network(torch.zeros_like(forward.activations["input"]))
        expected = (forward.logits - nothing).gather(1, CLASSES[:, None])[:, 0]
        errors.append((maps.sum((1, 2)) - expected).abs().max().item() / expected.abs().max().item())
    assert errors[1] < 0.01 < errors[0]


def test_is_input_x_gradient_without_biases() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3, bias=False),
    ).double()
    images = small_images(height=8, width=8)
    integrated, once = IntegratedGradients("0", steps=4), InputXGradient("0")
    torch.testing.assert_close(
        integrated.attribute(integrated.forward(model, images), CLASSES),
        once.attribute(once.forward(model, images), CLASSES),
    )


@pytest.mark.parametrize("build", [small_resnet, small_bcos])
def test_a_model_in_training_keeps_its_statistics_and_is_explained_by_them(build: Any) -> None:
    model, images = build().train(), small_images()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert build is not small_bcos or isinstance(norms[0], UncenteredBatchNorm2d)
    norms[0].eval()
    once = copy.deepcopy(model)
    once(images)
    attributor = IntegratedGradients(["input", "mid1"], steps=4, chunk=3)
    forward = attributor.forward(model, images)
    maps = attributor.attribute_layers(forward, CLASSES, create_graph=True)
    for buffer, expected in zip(model.buffers(), once.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=0, atol=0)
    assert [norm.training for norm in norms] == [False] + [True] * (len(norms) - 1)
    with evaluation_mode(model):
        expected_maps = attributor.attribute_layers(forward, CLASSES)
    one_by_one = IntegratedGradients(["input", "mid1"], steps=4, chunk=1)
    for layer, other in one_by_one.attribute_layers(forward, CLASSES).items():
        torch.testing.assert_close(maps[layer], expected_maps[layer])
        torch.testing.assert_close(maps[layer], other)


def test_by_the_statistics_of_a_batch_no_interpolation_would_show() -> None:
    """Why the passes go by the running statistics."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-12), nn.ReLU()).double()
    images = small_images(height=8, width=8)
    torch.testing.assert_close(model(images), model(0.1 * images))


def test_differentiation() -> None:
    attributor = IntegratedGradients(["input", "mid1", "network.3.conv1"], steps=3, chunk=2)
    model, images = small_resnet(), small_images(2, height=16, width=16)
    check_maps_train_parameters(attributor, model, images, CLASSES[:2])
    check_classification_is_untouched(attributor, model, images, CLASSES[:2])
    check_zero_and_empty_maps(attributor, model, images)


def test_differentiation_of_what_goes_around_the_layer() -> None:
    """The class token's way past the layer ends in the maps too."""
    attributor = IntegratedGradients(NORM, steps=3)
    check_maps_train_parameters(attributor, lively(small_vit()), small_images(2), CLASSES[:2])


def test_a_layer_of_zeros_has_a_map_of_zeros() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).double()
    nn.init.constant_(model.get_parameter("0.bias"), -100)
    attributor = IntegratedGradients("1", steps=2)
    maps = attributor.attribute(attributor.forward(model, small_images(height=4, width=4)), CLASSES)
    assert maps.shape == (3, 2, 2)
    assert not maps.any()


def test_autocast_gives_float32_maps() -> None:
    model, images = small_resnet().float(), small_images().float()
    attributor = IntegratedGradients("mid1", steps=4)
    exact = attributor.attribute(attributor.forward(model, images), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        forward = attributor.forward(model, images)
        maps = attributor.attribute(forward, CLASSES)
    assert forward.activations["mid1"].dtype == torch.bfloat16
    assert maps.dtype == torch.float32
    assert torch.cosine_similarity(maps.flatten(1), exact.flatten(1)).min() > 0.98


@pytest.mark.parametrize("option", ["steps", "chunk"])
def test_options_out_of_range(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(InputError, match=rf"attributor\.{option} must be at least 1; got 0"):
        IntegratedGradients(**options)
