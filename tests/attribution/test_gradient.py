"""The gradient against captum."""

import captum.attr
import torch

from guidance.attribution.gradient import Gradient
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
    lively,
)
from tests.attribution.small_networks import small_images, small_resnet, small_vit

CLASSES = torch.tensor([2, 0, 1])


def test_equals_captum() -> None:
    model, images = small_resnet(), small_images(width=24)
    encoded = model.encoding(images).requires_grad_()
    saliency = captum.attr.Saliency(model.network).attribute(encoded, target=CLASSES, abs=False)
    attributor = Gradient(["input", "mid1"])
    maps = attributor.attribute_layers(attributor.forward(model, images), CLASSES)
    torch.testing.assert_close(maps["input"], saliency.sum(1))
    of_layer = captum.attr.LayerGradientXActivation(
        model, model.get_submodule("network.2"), multiply_by_inputs=False
    )
    torch.testing.assert_close(maps["mid1"], of_layer.attribute(images, target=CLASSES).sum(1))
    assert (maps["input"] < 0).any()
    assert (maps["input"] > 0).any()


def test_equals_captum_at_the_tokens_of_a_vision_transformer() -> None:
    model, images = lively(small_vit()), small_images()
    layers = ["encoder.layers.encoder_layer_1.ln_1", "encoder.layers.encoder_layer_0", "encoder.ln"]
    attributor = Gradient(layers)
    maps = attributor.attribute_layers(attributor.forward(model, images), CLASSES)
    for name in layers:
        layer = captum.attr.LayerGradientXActivation(
            model, model.get_submodule(name), multiply_by_inputs=False
        )
        tokens = layer.attribute(images, target=CLASSES).detach()
        torch.testing.assert_close(maps[name], tokens[:, 1:].sum(2).reshape(3, 4, 4))
    assert maps[layers[0]].abs().mean() > 1e-3
    # All that reads the block's output is a layer norm, which does not see a constant added to a token.
    assert maps[layers[1]].abs().max() < 1e-12
    # The last thing that is read is the class token alone.
    assert not maps[layers[2]].any()


def test_differentiation() -> None:
    attributor = Gradient(["input", "mid1", "final"])
    model, images = small_resnet(), small_images(height=16, width=16)
    check_maps_train_parameters(attributor, model, images, CLASSES)
    check_classification_is_untouched(attributor, model, images, CLASSES)
    check_zero_and_empty_maps(attributor, model, images)
