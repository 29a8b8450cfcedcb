"""One forward pass and passes from a layer on."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from guidance.attribution.forward_pass import evaluation_mode, run_model
from guidance.attribution.grad_cam import GradCAM
from guidance.attribution.input_x_gradient import InputXGradient
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    lively,
)
from tests.attribution.small_networks import small_images, small_resnet, small_vit

CLASSES = torch.tensor([1, 0, 2])
BLOCK = "encoder.layers.encoder_layer_0:input"


def with_norm_and_dropout() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Tanh(),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(5, 3),
    )
    return model.double()


@pytest.mark.parametrize("method", [InputXGradient, GradCAM])
def test_attention_can_be_differentiated_twice(method: Any) -> None:
    model, images = lively(small_vit()), small_images()
    attributor = method(BLOCK)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # what a GPU would choose, were it left to choose
        check_maps_train_parameters(attributor, model, images, CLASSES)
    check_classification_is_untouched(attributor, model, images, CLASSES)


def test_the_choice_of_attention_kernels_is_given_back() -> None:
    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()
    run_model(small_vit(), small_images(), [BLOCK])
    assert before == (True, True)
    assert (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
    ) == before


def test_running_on_does_so_in_evaluation_mode_and_leaves_no_trace() -> None:
    model, images = with_norm_and_dropout().train(), small_images(height=9, width=8)
    model[5].eval()  # a layer that training keeps frozen
    forward = run_model(model, images, ["3"])
    modes = {name: module.training for name, module in model.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    activation = torch.cat([forward.activations["3"], 2 * forward.activations["3"]]).detach()
    logits = forward.run_from("3", activation)
    assert {name: module.training for name, module in model.named_modules()} == modes
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=0, atol=0)
    with evaluation_mode(model):
        expected = model[4:](activation)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(forward.run_from("3", activation[3:]), logits[3:])


def test_evaluation_mode_ends_with_an_error_too() -> None:
    model = with_norm_and_dropout().train()
    with pytest.raises(RuntimeError, match="expected input"), evaluation_mode(model):
        model(small_images()[:, :2])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("create_graph", [True, False])
def test_what_goes_around_the_layer_is_in_the_graph_if_wanted(create_graph: bool) -> None:
    model, images = small_vit(), small_images()
    forward = run_model(model, images, [BLOCK])
    activation = forward.activations[BLOCK].detach().requires_grad_()
    logits = forward.run_from(BLOCK, activation, create_graph)
    torch.testing.assert_close(logits, model(images))
    before, after = model.get_parameter("class_token"), model.get_parameter("heads.head.weight")
    of_before, of_after = torch.autograd.grad(logits.sin().sum(), [before, after], allow_unused=True)
    assert of_after.any()
    assert (of_before is not None and bool(of_before.any())) == create_graph


def test_the_activation_is_cast_to_the_type_of_the_images() -> None:
    model, images = small_resnet(), small_images()
    forward = run_model(model, images, ["mid1"])
    activation = forward.activations["mid1"].detach().bfloat16().requires_grad_()
    with torch.no_grad():
        logits = forward.run_from("mid1", activation)
    (gradient,) = torch.autograd.grad(logits.sum(), activation)
    assert (logits.dtype, gradient.dtype) == (torch.float64, torch.bfloat16)
    assert gradient.any()


def test_no_images() -> None:
    forward = run_model(small_resnet(), small_images()[:0], ["mid1"])
    assert forward.run_from("mid1", forward.activations["mid1"]).shape == (0, 3)
