"""Layer-wise relevance propagation against captum."""

from typing import Any

import captum.attr
import pytest
import torch
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from torch import Tensor, nn
from torchvision.models import resnet18, shufflenet_v2_x0_5

from guidance.attribution.input_x_gradient import InputXGradient
from guidance.attribution.lrp import LRP
from guidance.errors import InputError
from guidance.models.encoding import Normalize
from tests.attribution.differentiation import (
    check_classification_is_untouched,
    check_maps_train_parameters,
    check_zero_and_empty_maps,
)
from tests.attribution.plain_network import Plain, plain_images
from tests.attribution.small_networks import small_bcos, small_images, small_resnet, small_vit

CLASSES = torch.tensor([2, 0, 1])


def of_captum(model: Plain, images: Tensor, conv: Any, other: Any) -> Tensor:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.rule = conv()
        elif isinstance(module, nn.Linear | nn.BatchNorm2d | nn.Identity):
            module.rule = EpsilonRule(1e-12) if isinstance(module, nn.Identity) else other()
    relevance: Tensor = captum.attr.LRP(model).attribute(images.clone().requires_grad_(), target=CLASSES)
    return relevance.detach().sum(1)


@pytest.mark.parametrize("bias", [True, False])
# captum stabilises a batch norm and the convolution before it, here they are one layer.
@pytest.mark.parametrize(("norm", "epsilon"), [(False, 1e-9), (False, 0.1), (True, 1e-9)])
def test_epsilon_rule_equals_captum(bias: bool, norm: bool, epsilon: float) -> None:
    images = plain_images()
    expected = of_captum(
        Plain(bias, norm), images, lambda: EpsilonRule(epsilon), lambda: EpsilonRule(epsilon)
    )
    attributor = LRP(epsilon=epsilon)
    maps = attributor.attribute(attributor.forward(Plain(bias, norm, inplace=True), images), CLASSES)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 0.01


def test_gamma_rule_equals_captum() -> None:
    images = plain_images()
    expected = of_captum(Plain(bias=False), images, lambda: GammaRule(0.4), lambda: EpsilonRule(1e-9))
    attributor = LRP(rule="gamma", epsilon=1e-9, gamma=0.4)
    maps = attributor.attribute(attributor.forward(Plain(False, inplace=True), images), CLASSES)
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-8)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("rule", ["epsilon", "gamma"])
def test_relevance_is_conserved_without_biases(rule: str) -> None:
    model, images = small_resnet(), small_images()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    attributor = LRP(["input", "mid1", "final"], rule, 1e-12)
    forward = attributor.forward(model, images)
    logits = forward.logits.gather(1, CLASSES[:, None])[:, 0].detach()
    assert logits.abs().min() > 1e-3
    for maps in attributor.attribute_layers(forward, CLASSES).values():
        torch.testing.assert_close(maps.sum((1, 2)), logits)


def test_with_a_tiny_epsilon_the_epsilon_rule_is_input_x_gradient() -> None:
    model, images, layers = small_resnet(), small_images(), ["input", "mid1", "final"]
    maps = [
        attributor.attribute_layers(attributor.forward(model, images), CLASSES)
        for attributor in (LRP(layers, epsilon=1e-12), InputXGradient(layers), LRP(layers, "gamma", 1e-12))
    ]
    for layer in layers:
        torch.testing.assert_close(maps[0][layer], maps[1][layer])
    assert not torch.allclose(maps[0]["input"], maps[2]["input"])


@pytest.mark.parametrize("rule", ["epsilon", "gamma"])
@pytest.mark.parametrize("training", [False, True])
def test_differentiation(rule: str, training: bool) -> None:
    model = Plain(norm=True, inplace=True).train(training)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    attributor = LRP(["input", "relu1"], rule, 1e-14)
    check_maps_train_parameters(attributor, model, plain_images(), CLASSES)
    check_classification_is_untouched(attributor, model, plain_images(), CLASSES)
    check_zero_and_empty_maps(attributor, model.eval(), plain_images())


@pytest.mark.parametrize("rule", ["epsilon", "gamma"])
def test_differentiation_of_a_residual_network(rule: str) -> None:
    attributor, images = LRP(["input", "mid1"], rule, 1e-14), small_images(height=16, width=16)
    check_maps_train_parameters(attributor, small_resnet(), images, CLASSES)
    check_classification_is_untouched(attributor, small_resnet(), images, CLASSES)


def test_a_second_model_is_looked_at_anew() -> None:
    attributor, images = LRP("input", "gamma"), plain_images()
    first, second = Plain(norm=True), Plain(norm=True)
    with torch.no_grad():
        second.conv1.weight.mul_(-1)
    for model in (first, second, first):
        fresh = LRP("input", "gamma")
        torch.testing.assert_close(
            attributor.attribute(attributor.forward(model, images), CLASSES),
            fresh.attribute(fresh.forward(model, images), CLASSES),
        )


@pytest.mark.parametrize("build", [resnet18, shufflenet_v2_x0_5])
def test_fits_the_networks_of_torchvision(build: Any) -> None:
    torch.manual_seed(0)
    model, images = build(num_classes=3).eval(), small_images().float()
    attributor, other = LRP("input", epsilon=1e-12), InputXGradient("input")
    attributor.check(model)
    torch.testing.assert_close(
        attributor.attribute(attributor.forward(model, images), CLASSES),
        other.attribute(other.forward(model, images), CLASSES),
        rtol=1e-3,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (small_vit(), "Dropout|.*GELU, LayerNorm, .*MultiheadAttention"),
        (small_bcos(), "BcosConv2d|.*UncenteredBatchNorm2d"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU6(), nn.SiLU()), "without a rule: ReLU6, SiLU. Use"),
        (nn.Conv1d(3, 2, 1), "without a rule: Conv1d. Use"),
    ],
)
def test_refuses_layers_without_a_rule(model: nn.Module, found: str) -> None:
    with pytest.raises(InputError, match=found):
        LRP().check(model)
    LRP().check(nn.Sequential(Normalize(), Plain(), nn.Sequential()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "gama"}, r"unknown attributor\.rule 'gama'. Did you mean 'gamma'"),
        ({"epsilon": 0.0}, r"attributor\.epsilon must be positive; got 0.0"),
        ({"gamma": -0.1}, r"attributor\.gamma must be at least 0; got -0.1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LRP(**options)


def test_autocast_gives_float32_maps() -> None:
    model, images = small_resnet().float(), small_images().float()
    for rule in ("epsilon", "gamma"):
        attributor = LRP("input", rule)
        exact = attributor.attribute(attributor.forward(model, images), CLASSES)
        with torch.autocast("cpu", torch.bfloat16):
            maps = attributor.attribute(attributor.forward(model, images), CLASSES)
        assert maps.dtype == torch.float32
        assert torch.cosine_similarity(maps.flatten(1), exact.flatten(1)).min() > 0.95
