"""Guided backpropagation against captum, and against a network whose ReLUs guide by themselves."""

from typing import Any

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution.gradient import Gradient
from guidance.attribution.guided_backprop import GuidedBackprop
from guidance.errors import InputError
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
)
from tests.attribution.small_networks import small_bcos, small_images, small_resnet, small_vit

CLASSES = torch.tensor([2, 0, 1])


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.top = top
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * (gradients[0] > 0) * (x > 0) * (x < ctx.top), None


def _guided(x: Tensor) -> Tensor:
    out: Tensor = _Guided.apply(x, torch.inf)
    return out


def _guided6(x: Tensor) -> Tensor:
    out: Tensor = _Guided.apply(x, 6.0)
    return out


RELUS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "ReLU6": nn.ReLU6(),
    "ReLU6 in place": nn.ReLU6(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu6": F.relu6,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "method in place, result ignored": lambda x: (x.relu_(), x)[1],
}


class Network(nn.Module):
    """Three convolutions with two kinds of ReLU, the second followed by an addition in place."""

    def __init__(self, relu: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 1)
        self.relu, self.rest = relu, nn.ReLU() if relu is not _guided6 and relu is not _guided else _guided
        self.head = nn.Linear(6, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(4 * self.conv1(x))
        x = self.rest(self.conv2(x))
        x = x + self.conv3(x)
        out: Tensor = self.head(self.relu(x).mean((2, 3)))
        return out


@pytest.mark.parametrize("kind", RELUS)
def test_every_relu_is_guided(kind: str) -> None:
    model, images = Network(RELUS[kind]), small_images(height=9, width=8)
    guiding = Network(_guided6 if "6" in kind else _guided)
    encoded = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(guiding(encoded).gather(1, CLASSES[:, None]).sum(), encoded)
    attributor = GuidedBackprop("input")
    attributor.check(model)
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    torch.testing.assert_close(maps, expected.sum(1))
    plain = Gradient("input")
    assert not torch.allclose(maps, plain.attribute(plain.forward(model, images), CLASSES))


def test_equals_captum() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    images = small_images(height=10, width=10)
    with pytest.warns(UserWarning, match="backward hooks"):
        guided = captum.attr.GuidedBackprop(model).attribute(images.clone().requires_grad_(), target=CLASSES)
    for module in model:
        if isinstance(module, nn.ReLU):
            module.inplace = True
    attributor = GuidedBackprop()
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    torch.testing.assert_close(maps, guided.sum(1))


@pytest.mark.parametrize("inplace", [True, False])
def test_at_a_layer_the_relus_after_it_are_guided(inplace: bool) -> None:
    """Those of the layer itself are not: its gradient has both signs."""
    torch.manual_seed(0)
    relu = nn.ReLU(inplace)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), relu, nn.Conv2d(6, 6, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(96, 3)
    ).double()
    images = small_images(height=8, width=8)
    attributor, plain = GuidedBackprop(["1", "3"]), Gradient("3")
    forward = attributor.forward(model, images)
    maps = attributor.attribute_layers(forward, CLASSES)
    torch.testing.assert_close(maps["3"], plain.attribute(plain.forward(model, images), CLASSES))
    assert (maps["3"] < 0).any()
    activation = forward.activations["1"].detach().requires_grad_()
    logits = model[5](model[4](_guided(model[2](activation))))
    (expected,) = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), activation)
    torch.testing.assert_close(maps["1"], expected.sum(1))
    assert (maps["1"] < 0).any()


@pytest.mark.parametrize("build", [small_resnet, lambda: Network(lambda x: F.relu6(x, inplace=True))])
def test_differentiation(build: Any) -> None:
    layers = ["input", "conv2"] if isinstance(build(), Network) else ["input", "mid1", "final"]
    attributor = GuidedBackprop(layers)
    images = small_images(height=16, width=16)
    check_maps_train_parameters(attributor, build(), images, CLASSES)
    check_classification_is_untouched(attributor, build(), images, CLASSES)
    check_zero_and_empty_maps(attributor, build(), images)


def test_in_training_mode() -> None:
    model = small_resnet().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    attributor = GuidedBackprop("input")
    check_maps_train_parameters(attributor, model, small_images(height=16, width=16), CLASSES)


def test_works_where_the_first_layers_are_frozen() -> None:
    model, images = small_resnet(), small_images()
    attributor = GuidedBackprop("mid1")
    expected = attributor.attribute(attributor.forward(model, images), CLASSES)
    model.requires_grad_(False)
    torch.testing.assert_close(attributor.attribute(attributor.forward(model, images), CLASSES), expected)


@pytest.mark.parametrize("build", [small_vit, small_bcos])
def test_refuses_a_network_without_relu(build: Any) -> None:
    with pytest.raises(InputError, match="attributor=guided_backprop guides ReLUs, and this model has no"):
        GuidedBackprop(layer="input").check(build())
    GuidedBackprop(layer="input").check(small_resnet())
