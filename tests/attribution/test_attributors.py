"""Attribution maps against captum, by themselves and through a standard ResNet."""

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
    maps = attributor.attribute(*attributor.forward(resnet, images), CLASSES)
    torch.testing.assert_close(maps, expected.detach())


@pytest.mark.parametrize("layer", ["mid1", "mid2", "mid3", "final"])
def test_input_x_gradient_at_a_layer_equals_captum(resnet: Classifier, images: Tensor, layer: str) -> None:
    module = resnet.get_submodule(resnet.layers[layer])
    expected = captum.attr.LayerGradientXActivation(resnet, module).attribute(images, target=CLASSES).sum(1)
    attributor = InputXGradient(layer)
    maps = attributor.attribute(*attributor.forward(resnet, images), CLASSES)
    torch.testing.assert_close(maps, expected.detach())


@pytest.mark.parametrize("layer", ["mid2", "final"])
@pytest.mark.parametrize("relu", [True, False])
def test_grad_cam_equals_captum(resnet: Classifier, images: Tensor, layer: str, relu: bool) -> None:
    module = resnet.get_submodule(resnet.layers[layer])
    expected = captum.attr.LayerGradCam(resnet, module).attribute(
        images, target=CLASSES, relu_attributions=relu
    )[:, 0]
    attributor = GradCAM(layer, relu=relu)
    maps = attributor.attribute(*attributor.forward(resnet, images), CLASSES)
    torch.testing.assert_close(maps, expected.detach())


@pytest.mark.parametrize("attributor", [InputXGradient("mid2"), GradCAM("final"), BcosContributions("mid1")])
def test_pairs_equal_one_image_and_class_at_a_time(attributor: Attributor, images: Tensor) -> None:
    torch.manual_seed(1)
    model = bcos_small(num_classes=4, width=8).eval()
    pair_images = torch.tensor([2, 0, 2, 0, 2, 2])
    pair_classes = torch.tensor([1, 3, 0, 2, 3, 2])
    logits, maps = attribute_pairs(attributor, model, images, pair_images, pair_classes)
    torch.testing.assert_close(logits, model(images).detach())
    for i, k, a in zip(pair_images, pair_classes, maps, strict=True):
        one_logits, activation = attributor.forward(model, images[i : i + 1])
        expected = attributor.attribute(one_logits, activation, k[None])[0]
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
    attribute_pairs(BcosContributions(), model, images, torch.tensor(pair_images), classes)
    assert seen == sizes


def test_no_pairs(images: Tensor) -> None:
    model = bcos_small(num_classes=4, width=8).eval()
    none = torch.zeros(0, dtype=torch.int64)
    logits, maps = attribute_pairs(BcosContributions(), model, images, none, none)
    assert logits.shape == (3, 4)
    assert len(maps) == 0


def test_works_under_no_grad_and_leaves_no_trace(resnet: Classifier, images: Tensor) -> None:
    attributor = InputXGradient("mid1")
    with torch.no_grad():
        maps = attributor.attribute(*attributor.forward(resnet, images), CLASSES)
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
    torch.testing.assert_close(
        attributor.attribute(*attributor.forward(model, x), classes), expected.detach()
    )
    # The activation before an in-place ReLU is kept as it was, and `:input` is what goes into a module.
    for layer in ("0", "1:input"):
        _, activation = InputXGradient(layer).forward(model, x)
        torch.testing.assert_close(activation, model[0](x))


@pytest.mark.parametrize("attributor", [InputXGradient("input"), InputXGradient("mid1"), GradCAM("mid2")])
def test_maps_are_differentiable_in_parameters(attributor: Attributor) -> None:
    torch.manual_seed(0)
    model = torchvision_classifier("resnet18", num_classes=3).double().eval()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    classes = torch.tensor([2, 1])
    weight = model.network.get_parameter("layer4.1.conv2.weight")

    def score() -> Tensor:
        maps = attributor.attribute(*attributor.forward(model, x), classes, create_graph=True)
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
    exact = attributor.attribute(*attributor.forward(resnet, images), CLASSES)
    with torch.autocast("cpu", torch.bfloat16):
        maps = attributor.attribute(*attributor.forward(resnet, images), CLASSES)
    assert maps.dtype == torch.float32
    assert torch.cosine_similarity(maps.flatten(1), exact.flatten(1)).min() > 0.98
