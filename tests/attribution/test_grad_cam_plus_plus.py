"""Grad-CAM++ against the paper's formula, position by position."""

import math

import pytest
import torch
from torch import Tensor

from guidance.attribution.grad_cam_plus_plus import GradCAMPlusPlus
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
    lively,
)
from tests.attribution.small_networks import small_images, small_resnet, small_vit

CLASSES = torch.tensor([2, 0, 1])
BLOCK = "encoder.layers.encoder_layer_0:input"


def slow_map(activation: Tensor, gradient: Tensor, logit: float, relu: bool) -> Tensor:
    """Return ``exp(-logit)`` times the map [h, w] of the score Y = exp(logit), as equation 19 has it."""
    channels, height, width = activation.shape
    total = torch.zeros(height, width, dtype=torch.float64)
    score = math.exp(logit)
    for c in range(channels):
        weight = 0.0
        for i in range(height):
            for j in range(width):
                g = gradient[c, i, j].item()
                first, second, third = score * g, score * g**2, score * g**3
                if g != 0:
                    alpha = second / (2 * second + activation[c].sum().item() * third)
                    weight += alpha * max(first, 0)
        total += weight / score * activation[c]
    return total.clamp(min=0) if relu else total


@pytest.mark.parametrize("relu", [True, False])
def test_equals_a_slow_loop(relu: bool) -> None:
    model, images = small_resnet(), small_images(height=16, width=12)
    attributor = GradCAMPlusPlus(["mid1", "final"], relu)
    forward = attributor.forward(model, images)
    gradients = {
        layer: torch.autograd.grad(
            forward.logits.gather(1, CLASSES[:, None]).sum(), activation, retain_graph=True
        )[0]
        for layer, activation in forward.activations.items()
    }
    maps = attributor.attribute_layers(forward, CLASSES)
    for layer, of_layer in maps.items():
        for n, attribution in enumerate(of_layer):
            activation, gradient = forward.activations[layer][n], gradients[layer][n]
            logit = forward.logits[n, CLASSES[n]].item()
            torch.testing.assert_close(attribution, slow_map(activation.detach(), gradient, logit, relu))
        assert of_layer.any()


def test_a_large_logit_does_not_overflow() -> None:
    model, images = small_resnet().float(), small_images().float()
    with torch.no_grad():
        model.get_parameter("network.6.bias").add_(1e4)
    attributor = GradCAMPlusPlus("final")
    assert attributor.attribute(attributor.forward(model, images), CLASSES).isfinite().all()


def test_negative_activations_make_no_pole() -> None:
    activation = torch.full((1, 1, 2, 2), -1.0, dtype=torch.float64)
    gradient = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)  # 2 + 0.5 * (-4) would be 0
    maps = GradCAMPlusPlus(relu=False).combine(activation, gradient)
    torch.testing.assert_close(maps, torch.full((1, 2, 2), -4 * 0.5 * 0.5, dtype=torch.float64))


def test_differentiation() -> None:
    attributor = GradCAMPlusPlus(["mid1", "final"], relu=False)
    model, images = small_resnet(), small_images(height=16, width=16)
    check_maps_train_parameters(attributor, model, images, CLASSES)
    check_classification_is_untouched(attributor, model, images, CLASSES)
    check_zero_and_empty_maps(attributor, model, images)
    of_tokens = GradCAMPlusPlus(BLOCK, relu=False)
    check_maps_train_parameters(of_tokens, lively(small_vit()), small_images(), CLASSES)
