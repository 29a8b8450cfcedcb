"""Attribution maps against captum, by themselves and through a standard ResNet."""

from typing import Any

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from guidance.attribution import Attributor, BcosContributions, GradCAM, InputXGradient, attribute_pairs
from guidance.errors import InputError
from guidance.models import Classifier, bcos_small, torchvision_classifier


@pytest.fixture(scope="module")
def resnet() -> Classifier:
    torch.manual_seed(0)
    return torchvision_classifier("resnet18", num_classes=5).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 48, 40, generator=torch.Generator().manual_seed(0))


CLASSES = torch.tensor([4, 0, 2])


def test_input_x_gradient_equals_captum(resnet: Classifier, images: Tensor) -> None:
    encoded = resnet.encoding(images).requires_grad_()
    expected = captum.attr.InputXGradient(resnet.network).attribute(encoded, target=CLASSES).sum(1)
    attributor = InputXGradient()
    maps = attributor.attribute(attributor.forward(resnet, images), CLASSES)
    torch.testing.assert_close(maps, expected.detach())


@pytest.mark.parametrize("layer", ["mid1", "mid2", "mid3", "final"])
def test_input_x_gradient_at_a_layer_equals_captum(resnet: Classifier, images: Tensor, layer: str) -> None:
    module = resnet.get_submodule(resnet.layers[layer])
    expected = captum.attr.LayerGradientXActivation(resnet, module).attribute(images, target=CLASSES).sum(1)
    attributor = InputXGradient(layer)
    maps = attributor.attribute(attributor.forward(resnet, images), CLASSES)
    torch.testing.assert_close(maps, expected.detach())


@pytest.mark.parametrize("layer", ["mid2", "final"])
@pytest.mark.parametrize("relu", [True, False])
def test_grad_cam_equals_captum(resnet: Classifier, images: Tensor, layer: str, relu: bool) -> None:
    module = resnet.get_submodule(resnet.layers[layer])
    expected = captum.attr.LayerGradCam(resnet, module).attribute(
        images, target=CLASSES, relu_attributions=relu
    )[:, 0]
    attributor = GradCAM(layer, relu=relu)
    maps = attributor.attribute(attributor.forward(resnet, images), CLASSES)
    torch.testing.assert_close(maps, expected.detach())


@pytest.mark.parametrize(
    "attributor",
    [
        InputXGradient("mid2"),
        GradCAM("final"),
        BcosContributions(),
        BcosContributions("mid1"),
        BcosContributions("final"),
    ],
)
def test_pairs_equal_one_image_and_class_at_a_time(attributor: Attributor, images: Tensor) -> None:
    torch.manual_seed(1)
    model = bcos_small(num_classes=4, width=8).eval()
    pair_images = torch.tensor([2, 0, 2, 0, 2, 2])
    pair_classes = torch.tensor([1, 3, 0, 2, 3, 2])
    logits, of_layers = attribute_pairs(attributor, model, images, pair_images, pair_classes)
    (maps,) = of_layers.values()
    torch.testing.assert_close(logits, model(images).detach())
    for i, k, a in zip(pair_images, pair_classes, maps, strict=True):
        forward = attributor.forward(model, images[i : i + 1])
        expected = attributor.attribute(forward, k[None])[0]
        torch.testing.assert_close(a, expected)
    assert not maps.requires_grad
    assert not logits.requires_grad


@pytest.mark.parametrize(
    ("pair_images", "sizes"),
    [
        ([0, 1, 2], [3]),
        ([1], [3]),
        ([0, 0], [3, 1]),
        ([2] * 8, [3, 3, 3, 1]),
        ([0, 1, 2, 0, 1, 2, 0], [3, 3, 1]),
    ],
)
def test_passes_are_few_and_never_larger_than_the_batch(
    images: Tensor, pair_images: list[int], sizes: list[int]
) -> None:
    model = bcos_small(num_classes=4, width=8).eval()
    seen: list[int] = []
    model.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    classes = torch.arange(len(pair_images)) % 4
    attribute_pairs(InputXGradient(), model, images, torch.tensor(pair_images), classes)
    assert seen == sizes


def test_further_pairs_of_a_b_cos_network_take_no_forward_pass(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bcos_small(num_classes=4, width=8).eval()
    pair_images = torch.tensor([2, 2, 0, 2, 2, 1, 2])
    monkeypatch.setattr(torch.nn.functional, "conv2d", counted := _Counted(torch.nn.functional.conv2d))
    attribute_pairs(BcosContributions(), model, images, pair_images, torch.arange(7) % 4)
    layers = sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    assert counted.calls == layers


class _Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


def test_no_pairs(images: Tensor) -> None:
    model = bcos_small(num_classes=4, width=8).eval()
    none = torch.zeros(0, dtype=torch.int64)
    logits, maps = attribute_pairs(BcosContributions(), model, images, none, none)
    assert logits.shape == (3, 4)
    assert {layer: len(of_layer) for layer, of_layer in maps.items()} == {"input": 0}


@pytest.mark.parametrize("method", [InputXGradient, GradCAM, BcosContributions])
def test_several_layers_are_explained_from_one_forward_pass(method: Any, images: Tensor) -> None:
    model = bcos_small(num_classes=4, width=8).eval()
    runs: list[int] = []
    model.register_forward_hook(lambda *_: runs.append(1))
    layers = ["input", "mid2", "final"]
    attributor = method(layers)
    maps = attributor.attribute_layers(attributor.forward(model, images), CLASSES % 4)
    assert (list(maps), len(runs)) == (layers, 1)
    for layer in layers:
        alone = method(layer)
        expected = alone.attribute(alone.forward(model, images), CLASSES % 4)
        torch.testing.assert_close(maps[layer], expected)
    with pytest.raises(ValueError, match="explains one layer, not 3"):
        attributor.attribute(attributor.forward(model, images), CLASSES)


def test_running_on_from_a_layer_gives_the_logits_again(resnet: Classifier, images: Tensor) -> None:
    for layer in ("input", "mid2", "final"):
        forward = InputXGradient(layer).forward(resnet, images)
        activation = forward.activations[layer].detach().repeat(2, 1, 1, 1).requires_grad_()
        with torch.no_grad():
            logits = forward.run_from(layer, activation)
        torch.testing.assert_close(logits, forward.logits.repeat(2, 1))
        (gradient,) = torch.autograd.grad(logits.sum(), activation)
        (expected,) = torch.autograd.grad(forward.logits.sum(), forward.activations[layer])
        torch.testing.assert_close(gradient, expected.repeat(2, 1, 1, 1))


@pytest.mark.parametrize("layers", [[], ["input", "input"]])
def test_layers_are_named_once(layers: list[str]) -> None:
    with pytest.raises(InputError, match=r"attributor\.layer must name each layer once"):
        GradCAM(layers)


class Tokens(nn.Module):
    """Patches of 4 x 4 pixels as tokens, after one more that is no patch."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 4, 4)
        self.block = nn.Tanh()
        self.head = nn.Linear(5, 2)
        self.prefix_tokens = 1
        if channels_last:
            self.channels_side = "last"

    def forward(self, images: Tensor) -> Any:
        maps = self.patches(images)
        if hasattr(self, "channels_side"):
            return self.head(self.block(maps.permute(0, 2, 3, 1)).mean((1, 2)))
        tokens = maps.flatten(2).transpose(1, 2)
        return self.head(self.block(torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)).mean(1))


def test_tokens_and_channels_last_become_maps_of_the_images_proportions() -> None:
    torch.manual_seed(0)
    x, classes = torch.rand(2, 3, 12, 24), torch.tensor([1, 0])
    for channels_last in (False, True):
        model = Tokens(channels_last)
        attributor = InputXGradient(["block", "patches"])
        forward = attributor.forward(model, x)
        torch.testing.assert_close(forward.logits, model(x))
        torch.testing.assert_close(forward.activations["block"], model.patches(x).tanh())
        maps = attributor.attribute_layers(forward, classes)
        assert maps["block"].shape == (2, 3, 6)
        # Each patch's share of the logit: its activation times the head's weights, over the number averaged.
        averaged = 18 if channels_last else 19
        weights = model.head.weight[classes][:, :, None, None] / averaged
        torch.testing.assert_close(maps["block"], (model.patches(x).tanh() * weights).sum(1).detach())
    model = Tokens()
    model.prefix_tokens = 2
    with pytest.raises(InputError, match=r"holds 19 tokens, of which 2 are not of the image"):
        InputXGradient("block").forward(model, x)


def test_works_under_no_grad_and_leaves_no_trace(resnet: Classifier, images: Tensor) -> None:
    attributor = InputXGradient("mid1")
    with torch.no_grad():
        maps = attributor.attribute(attributor.forward(resnet, images), CLASSES)
    assert maps.abs().sum() > 0
    assert all(parameter.grad is None for parameter in resnet.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in resnet.modules())


def test_plain_module_without_named_layers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    x = torch.rand(2, 3, 8, 8)
    classes = torch.tensor([0, 1])
    expected = captum.attr.InputXGradient(model).attribute(x.clone().requires_grad_(), target=classes).sum(1)
    attributor = InputXGradient("input")
    torch.testing.assert_close(attributor.attribute(attributor.forward(model, x), classes), expected.detach())
    # The activation before an in-place ReLU is kept as it was, and `:input` is what goes into a module.
    for layer in ("0", "1:input"):
        kept = InputXGradient(layer).forward(model, x).activations[layer]
        torch.testing.assert_close(kept, model[0](x))


@pytest.mark.parametrize("attributor", [InputXGradient("input"), InputXGradient("mid1"), GradCAM("mid2")])
def test_maps_are_differentiable_in_parameters(attributor: Attributor) -> None:
    torch.manual_seed(0)
    model = torchvision_classifier("resnet18", num_classes=3).double().eval()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    classes = torch.tensor([2, 1])
    weight = model.network.get_parameter("layer4.1.conv2.weight")

    def score() -> Tensor:
        maps = attributor.attribute(attributor.forward(model, x), classes, create_graph=True)
        return maps.sin().sum()

    (gradient,) = torch.autograd.grad(score(), weight)
    direction = torch.randn_like(weight)
    step = 1e-6
    with torch.no_grad():
        weight.add_(step * direction)
    above = score().item()
    with torch.no_grad():
        weight.sub_(2 * step * direction)
    below = score().item()
    assert (gradient * direction).sum().item() == pytest.approx((above - below) / (2 * step), rel=1e-5)


def test_unknown_layer_names_the_nearest(resnet: Classifier) -> None:
    with pytest.raises(InputError, match=r"unknown layer 'finall'. Did you mean 'final'"):
        InputXGradient("finall").check(resnet)
    with pytest.raises(InputError, match=r"Did you mean 'network.layer3.0.conv1'"):
        InputXGradient("network.layer3.0.conv11").check(resnet)


def test_bcos_refuses_a_standard_network(resnet: Classifier) -> None:
    with pytest.raises(InputError, match="attributor=bcos explains B-cos networks"):
        BcosContributions().check(resnet)


def test_layer_without_feature_map_is_refused(resnet: Classifier, images: Tensor) -> None:
    with pytest.raises(InputError, match=r"layer 'network.fc' holds no feature map \[N, C, h, w\]"):
        InputXGradient("network.fc").forward(resnet, images)


def test_layer_that_runs_twice_is_refused(resnet: Classifier, images: Tensor) -> None:
    with pytest.raises(InputError, match="runs more than once"):
        InputXGradient("network.layer1.0.relu").forward(resnet, images)


def test_autocast_gives_float32_maps(resnet: Classifier, images: Tensor) -> None:
    attributor = InputXGradient("final")
    exact = attributor.attribute(attributor.forward(resnet, images), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        maps = attributor.attribute(attributor.forward(resnet, images), CLASSES)
    assert maps.dtype == torch.float32
    assert torch.cosine_similarity(maps.flatten(1), exact.flatten(1)).min() > 0.98
