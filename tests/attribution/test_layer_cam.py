"""Layer-CAM against the paper's formula, position by position."""

import pytest
import torch

from guidance.attribution.layer_cam import LayerCAM
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
    lively,
)
from tests.attribution.small_networks import small_images, small_resnet, small_vit

CLASSES = torch.tensor([2, 0, 1])
BLOCK = "encoder.layers.encoder_layer_0:input"


@pytest.mark.parametrize("relu", [True, False])
def test_equals_a_slow_loop(relu: bool) -> None:
    attributor = LayerCAM(["input", "mid1", "final"], relu)
    forward = attributor.forward(small_resnet(), small_images(height=8, width=10))
    gradients = {
        layer: torch.autograd.grad(
            forward.logits.gather(1, CLASSES[:, None]).sum(), activation, retain_graph=True
        )[0]
        for layer, activation in forward.activations.items()
    }
    for layer, maps in attributor.attribute_layers(forward, CLASSES).items():
        activation = forward.activations[layer]
        for n, i, j in torch.cartesian_prod(*(torch.arange(size) for size in maps.shape)).tolist():
            expected = 0.0
            for c in range(activation.shape[1]):
                gradient = gradients[layer][n, c, i, j].item()
                if gradient > 0:
                    expected += gradient * activation[n, c, i, j].item()
            expected = max(expected, 0) if relu else expected
            assert maps[n, i, j].item() == pytest.approx(expected)
        assert maps.any()
        assert layer != "input" or (maps < 0).any() != relu


def test_differentiation() -> None:
    attributor = LayerCAM(["input", "mid1", "final"], relu=False)
    model, images = small_resnet(), small_images(height=16, width=16)
    check_maps_train_parameters(attributor, model, images, CLASSES)
    check_classification_is_untouched(attributor, model, images, CLASSES)
    check_zero_and_empty_maps(attributor, model, images)
    of_tokens = LayerCAM(BLOCK, relu=False)
    check_maps_train_parameters(of_tokens, lively(small_vit()), small_images(), CLASSES)
