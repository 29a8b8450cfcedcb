"""Smoothed maps against scipy and an explicit convolution."""

import math
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.ndimage import gaussian_filter
from torch import Tensor

from guidance.attribution.attributor import Attributor
from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.gradient import Gradient
from guidance.attribution.guided_backprop import GuidedBackprop
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.integrated_gradients import IntegratedGradients
from guidance.attribution.smoothed import Smoothed
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
)
from tests.attribution.small_networks import small_bcos, small_images, small_resnet

CLASSES = torch.tensor([2, 0, 1])


@pytest.mark.parametrize("kernel_size", [1, 3, 9, 129])
@pytest.mark.parametrize("sigma", [None, 2.5])
def test_equals_scipy(kernel_size: int, sigma: float | None) -> None:
    model, images = small_resnet(), small_images(width=24)
    plain = InputXGradient(["input", "mid1"])
    attributor = Smoothed(plain, kernel_size, sigma)
    maps = attributor.attribute_layers(attributor.forward(model, images), CLASSES)
    for layer, signed in plain.attribute_layers(plain.forward(model, images), CLASSES).items():
        for attribution, of_image in zip(maps[layer], signed, strict=True):
            expected = gaussian_filter(
                of_image.numpy(), sigma or kernel_size / 4, mode="constant", radius=kernel_size // 2
            )
            torch.testing.assert_close(attribution, torch.from_numpy(expected))
        if kernel_size == 1:
            torch.testing.assert_close(maps[layer], signed)


def test_equals_an_explicit_convolution() -> None:
    model, images = small_resnet(), small_images(width=24)
    plain = IntegratedGradients("input", steps=2)
    attributor = Smoothed(plain, kernel_size=7)
    signed = plain.attribute(plain.forward(model, images), CLASSES)
    kernel = torch.tensor(
        [[math.exp(-((i - 3) ** 2 + (j - 3) ** 2) / (2 * 1.75**2)) for j in range(7)] for i in range(7)],
        dtype=torch.float64,
    )
    expected = F.conv2d(signed[:, None], (kernel / kernel.sum())[None, None], padding=3)[:, 0]
    maps = attributor.attribute(attributor.forward(model, images), CLASSES)
    torch.testing.assert_close(maps, expected)


def test_differentiation() -> None:
    attributor = Smoothed(InputXGradient(["input", "mid1"]), kernel_size=5)
    model, images = small_resnet(), small_images(height=16, width=12)
    check_maps_train_parameters(attributor, model, images, CLASSES)
    check_classification_is_untouched(attributor, model, images, CLASSES)
    check_zero_and_empty_maps(attributor, model, images)


def test_runs_and_checks_as_the_other_attribution_does() -> None:
    guided, gradient = (Smoothed(method("input"), kernel_size=1) for method in (GuidedBackprop, Gradient))
    model, images = small_resnet(), small_images()
    maps = guided.attribute(guided.forward(model, images), CLASSES)
    other = GuidedBackprop("input")
    torch.testing.assert_close(maps, other.attribute(other.forward(model, images), CLASSES))
    assert not torch.allclose(maps, gradient.attribute(gradient.forward(model, images), CLASSES))
    with pytest.raises(InputError, match="guides ReLUs"):
        guided.check(small_bcos())
    gradient.check(small_bcos())


class Ones(Attributor):
    """Maps without a gradient."""

    guides: ClassVar[bool] = False

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        return [torch.ones(len(classes), 3, 3, dtype=torch.float64)]


def test_guides_only_if_the_other_attribution_does() -> None:
    assert Smoothed(Gradient(), kernel_size=3).guides
    attributor = Smoothed(Ones("input"), kernel_size=3, sigma=100.0)
    assert not attributor.guides
    forward = attributor.forward(small_resnet(), small_images())
    maps = attributor.attribute(forward, CLASSES)
    # A box of 9 positions, of which a corner of the map sees 4.
    torch.testing.assert_close(maps[0, 0, 0].item(), 4 / 9, rtol=1e-3, atol=0)
    with pytest.raises(InputError, match="Smoothed cannot guide: its maps have no gradient"):
        attributor.attribute(forward, CLASSES, create_graph=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, r"attributor\.kernel_size must be odd and positive; got 4"),
        ({"kernel_size": -1}, r"attributor\.kernel_size must be odd and positive; got -1"),
        ({"kernel_size": 3, "sigma": 0.0}, r"attributor\.sigma must be positive, or null for K / 4; got 0.0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Smoothed(Gradient(), **options)


def test_the_layer_may_be_said_once_or_twice_but_not_differently() -> None:
    assert Smoothed(Gradient("mid1"), 3).layers == ("mid1",)
    assert Smoothed(Gradient(["mid1", "final"]), 3, layer=["mid1", "final"]).layers == ("mid1", "final")
    with pytest.raises(InputError, match=r"attributor\.layer=\['mid2'\], but the maps .* at \['mid1'\]"):
        Smoothed(Gradient("mid1"), 3, layer="mid2")


@pytest.mark.parametrize("name", ["smoothed_ixg", "smoothed_integrated_gradients"])
def test_one_option_moves_both(name: str) -> None:
    config = OmegaConf.load(CONFIG_DIR / "attributor" / f"{name}.yaml")
    config.layer = "mid2"
    made = instantiate(config)
    assert made.layers == made.attributor.layers == ("mid2",)
