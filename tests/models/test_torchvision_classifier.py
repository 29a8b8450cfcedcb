"""Every classifier of torchvision: head, named layers, and maps that can be guided."""

from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.regnet import BlockParams
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

import guidance.download as module
from guidance.attribution.grad_cam import GradCAM
from guidance.attribution.input_x_gradient import InputXGradient
from guidance.errors import InputError
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize
from guidance.models.torchvision_classifier import torchvision_classifier
from guidance.models.torchvision_layers import torchvision_layers
from tests.file_server import serving

NAMES = torchvision.models.list_models(module=torchvision.models)
STAGES = ["mid1", "mid2", "mid3", "final"]


def on_meta(name: str, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """Build a network without memory for its weights."""
    plan: Any = BlockParams.from_init_params

    def plan_on_cpu(*args: Any, **kwargs: Any) -> BlockParams:
        with torch.device("cpu"):  # RegNet computes its widths with tensors
            made: BlockParams = plan(*args, **kwargs)
        return made

    monkeypatch.setattr(BlockParams, "from_init_params", plan_on_cpu)
    with torch.device("meta"):
        return torchvision_classifier(name, num_classes=3)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_a_new_head_and_named_layers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = on_meta(name, monkeypatch)
    assert list(model.layers) == ["input", *STAGES]
    modules = dict(model.named_modules())
    assert all(path in modules for path in model.layers.values())
    weights = [m for m in model.network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert weights[-1].weight.shape[0] == 3
    assert [m for m in weights if m.weight.shape[0] == 1000] == []


def native_size(name: str) -> int:
    return 299 if name == "inception_v3" else 224


def expected_sizes(name: str) -> list[int]:
    """Return the heights of the named layers, of images of 224 pixels (Inception: 299)."""
    special = {
        "alexnet": [27, 13, 13, 6],
        "inception_v3": [73, 35, 17, 8],
        "squeezenet1_0": [54, 27, 27, 13],
        "squeezenet1_1": [55, 27, 13, 13],
        "swin_t": [28, 14, 7, 7],
        "swin_s": [28, 14, 7, 7],
        "swin_b": [28, 14, 7, 7],
        "vit_h_14": [16] * 4,
    }
    if name.startswith("vit") and name not in special:
        return [224 // int(name[-2:])] * 4
    return special.get(name, [56, 28, 14, 7])


def check_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = on_meta(name, monkeypatch)
    size = native_size(name)
    images = torch.empty(2, 3, size, size, device="meta")
    with torch.device("meta"):
        forward = InputXGradient(STAGES).forward(model, images)
    assert forward.logits.shape == (2, 3)
    heights = [activation.shape[2] for activation in forward.activations.values()]
    assert heights == [activation.shape[3] for activation in forward.activations.values()]
    assert heights == expected_sizes(name)


# The smallest of each family, and of those with shapes of their own.
SMALLEST = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "regnet_x_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1",
    "swin_t", "swin_v2_t", "vgg11", "vgg19_bn", "vit_b_16", "wide_resnet50_2",
]  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_layers_hold_feature_maps_of_falling_resolution(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_sizes(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SMALLEST)))
def test_layers_of_larger_models_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_sizes(name, monkeypatch)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("densenet121", 64),
        ("googlenet", 64),
        ("inception_v3", 96),
        ("mnasnet0_5", 64),
        ("mobilenet_v3_small", 64),
        ("regnet_y_400mf", 64),
        ("shufflenet_v2_x0_5", 64),
        ("squeezenet1_1", 64),
    ],
)
def test_maps_are_not_zero_and_train_the_weights(name: str, size: int) -> None:
    torch.manual_seed(0)
    model = torchvision_classifier(name, 3).train()
    images = torch.rand(2, 3, size, size)
    attributor = InputXGradient(["input", *STAGES])
    forward = attributor.forward(model, images)
    maps = attributor.attribute_layers(forward, torch.tensor([2, 0]), create_graph=True)
    assert all(of_layer.abs().amax() > 1e-9 for of_layer in maps.values())
    loss = sum((m / m.detach().abs().amax()).square().mean() for m in maps.values()) + forward.logits.sum()
    assert isinstance(loss, Tensor)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def tiny_vit() -> Classifier:
    network = VisionTransformer(32, 8, num_layers=8, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3)
    nn.init.normal_(network.heads.head.weight)
    layers = torchvision_layers("vit_tiny", network)
    return Classifier(network, Normalize(), 3, layers, "heads.head", prefix_tokens=1).double().eval()


def tiny_swin() -> Classifier:
    network = SwinTransformer([4, 4], 8, [1] * 4, [1, 2, 2, 2], [2, 2], num_classes=3)
    nn.init.normal_(network.head.weight)
    layers = torchvision_layers("swin_tiny", network)
    return Classifier(network, Normalize(), 3, layers, "head", channels_side="last").double().eval()


def tiny_convnext() -> Classifier:
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 16, 1), CNBlockConfig(16, 16, 1)]
    network = ConvNeXt([*blocks, CNBlockConfig(16, None, 1)], layer_scale=1.0, num_classes=3)
    nn.init.normal_(network.classifier[2].weight)
    layers = torchvision_layers("convnext_small", network)
    return Classifier(network, Normalize(), 3, layers, "classifier.2").double().eval()


STEMS = {tiny_vit: "conv_proj", tiny_swin: "features.0.0", tiny_convnext: "features.0.0"}
SIDES = {tiny_vit: [4, 4, 4, 4], tiny_swin: [4, 2, 1, 1], tiny_convnext: [16, 8, 4, 2]}


@pytest.mark.parametrize("build", STEMS)
@pytest.mark.parametrize("method", [InputXGradient, partial(GradCAM, relu=False)])
@pytest.mark.parametrize("layer", ["input", *STAGES])
def test_transformers_guided_gradient_equals_finite_differences(build: Any, method: Any, layer: str) -> None:
    torch.manual_seed(0)
    model = build()
    size = 64 if build is tiny_convnext else 32
    images, classes = torch.rand(2, 3, size, size, dtype=torch.float64), torch.tensor([2, 0])
    attributor = method(layer)
    weight = model.network.get_parameter(f"{STEMS[build]}.weight")

    value = attributor.attribute(attributor.forward(model, images), classes)

    def loss() -> Tensor:
        forward = attributor.forward(model, images)
        maps = attributor.attribute(forward, classes, create_graph=True)
        total: Tensor = (maps / value.abs().max()).square().sum() + forward.logits.sum()
        return total

    side = ([size, *SIDES[build]])[["input", *STAGES].index(layer)]
    assert value.shape[1:] == (side, side)
    # In front of a norm of each position (or of 2 x 2) the map would be 0 (or cancel out).
    pooled = value if side <= 2 else nn.functional.avg_pool2d(value, 2)
    assert pooled.abs().max() > 1e-2 * value.abs().max() > 0
    (gradient,) = torch.autograd.grad(loss(), weight)
    direction, step = torch.randn_like(weight), 1e-6
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            weight.add_(sign * step * direction)
        values.append(loss().item())
    expected = (values[0] - values[1]) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-5)


def test_swin_maps_lie_where_the_image_changed() -> None:
    """A map that took channels for columns would not follow the image."""
    torch.manual_seed(0)
    model = tiny_swin()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    changed = images.clone()
    changed[..., :4, 28:] = 0
    activations = [InputXGradient("mid1").forward(model, x).activations["mid1"] for x in (images, changed)]
    row_and_column = (activations[0] - activations[1]).norm(dim=1)[0].argmax().item()
    assert divmod(int(row_and_column), 4) == (0, 3)


def test_swin_s_input_and_convolutions_hold_channels_first() -> None:
    model = tiny_swin()
    layers = ["input", "network.features.0.0", "network.features.0", "network.features.0.2"]
    forward = InputXGradient(layers).forward(model, torch.rand(1, 3, 32, 64, dtype=torch.float64))
    shapes = [tuple(activation.shape[1:]) for activation in forward.activations.values()]
    assert shapes == [(3, 32, 64), (8, 8, 16), (8, 8, 16), (8, 8, 16)]


def test_vit_reads_images_of_the_size_it_is_built_for() -> None:
    with torch.device("meta"):
        model = torchvision_classifier("vit_b_32", 3, image_size=64)
        assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3)
        with pytest.raises(
            InputError, match=r"built for images of 64 x 64 pixels and gets 96 x 64: set model.i"
        ):
            model(torch.rand(1, 3, 96, 64))
        assert torchvision_classifier("maxvit_t", 3, image_size=224).num_classes == 3
        for name in ("vit_b_32", "maxvit_t"):
            with pytest.raises(InputError, match=rf"model.image_size: {name} cannot be built with .*100"):
                torchvision_classifier(name, 3, image_size=100)


@pytest.mark.parametrize(("name", "native"), [("vit_b_16", 224), ("vit_h_14", 518)])
def test_pretrained_vit_is_refused_at_another_size(name: str, native: int) -> None:
    with pytest.raises(InputError, match=rf"pretrained weights of {name} are for images of {native} pixels"):
        torchvision_classifier(name, 3, pretrained=True, image_size=64)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_weights_that_cannot_be_fetched(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
    with torch.device("meta"), pytest.raises(InputError) as raised:
        torchvision_classifier(name, 3, pretrained=True)
    for part in ("https://download.pytorch.org", f"{tmp_path}/hub/checkpoints/{name}-", "model.checkpoint"):
        assert part in str(raised.value)


def test_pretrained_is_torchvision_s_best_checked_and_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    released = torchvision.models.squeezenet1_1()
    torch.save(released.state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    name = f"squeezenet1_1-{sha256(content).hexdigest()[:8]}.pth"
    with serving() as server:
        server.files[name] = content
        server.drops = [len(content) // 2]
        weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
        monkeypatch.setattr(weights, "_value_", replace(weights.value, url=server.url(name)))
        monkeypatch.setattr(module, "_PAUSES", (0.0,) * 4)
        for _ in range(2):
            found = torchvision_classifier("squeezenet1_1", 1000, pretrained=True).network.state_dict()
            assert all(torch.equal(value, released.state_dict()[key]) for key, value in found.items())
        assert server.asked == ["", f"bytes={len(content) // 2}-"]
    assert (tmp_path / "hub" / "checkpoints" / name).read_bytes() == content


def test_squeezenet_has_negative_logits_too() -> None:
    torch.manual_seed(0)
    model = torchvision_classifier("squeezenet1_1", 20).eval()
    reference = torchvision.models.squeezenet1_1(num_classes=20).eval()
    reference.load_state_dict(model.network.state_dict())
    images = torch.rand(2, 3, 64, 64)
    logits = model(images)
    assert (logits < 0).any()
    before_pooling = model.network.get_submodule("classifier.1")
    features = reference.features(model.encoding(images))
    torch.testing.assert_close(logits, before_pooling(features).mean((2, 3)))
    torch.testing.assert_close(
        reference(model.encoding(images)), before_pooling(features).relu().mean((2, 3))
    )


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision_classifier(name, 3).train()
    assert model(torch.rand(2, 3, 96, 96)).shape == (2, 3)
    assert not [parameter for parameter, _ in model.named_parameters() if "aux" in parameter.lower()]


def test_unknown_side_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.channels_side 'list'. Did you mean 'last'"):
        Classifier(nn.Identity(), nn.Identity(), 3, {}, channels_side="list")  # type: ignore[arg-type]
