"""Classifiers of timm: normalisation, named layers, and maps that can be guided."""

import io
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from guidance.attribution.input_x_gradient import InputXGradient
from guidance.errors import InputError
from guidance.models.classifier import Classifier
from guidance.models.timm_classifier import timm_classifier
from tests.file_server import serving

STAGES = ["mid1", "mid2", "mid3", "final"]


def small(name: str, image_size: int | None = None) -> Classifier:
    """Return a network in double precision whose every parameter does something."""
    torch.manual_seed(0)
    model = timm_classifier(name, 3, image_size=image_size).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.abs().max() < 0.01:  # layer scales and heads start at about 0
                parameter.normal_(std=0.2)
    return model


def test_is_timm_s_network_with_its_normalisation_and_another_head() -> None:
    model = timm_classifier("test_convnext", 7).eval()
    reference = timm.create_model("test_convnext", num_classes=7).eval()
    reference.load_state_dict(model.network.state_dict())
    images = torch.rand(2, 3, 64, 64)
    # It has 0.5 for both, in all channels.
    torch.testing.assert_close(model(images), reference(images * 2 - 1))
    assert model(images).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("test_resnet", 64, [16, 8, 4, 2]),
        ("test_efficientnet", 64, [16, 8, 4, 2]),
        ("test_byobnet", 64, [16, 8, 4, 2]),
        ("test_nfnet", 64, [16, 8, 4, 2]),
        ("test_convnext", 64, [16, 8, 4, 2]),
        ("test_mambaout", 64, [16, 8, 4, 2]),
        ("test_vit", 64, [4, 4, 4, 4]),
        ("test_vit2", 48, [3, 3, 3, 3]),
        ("test_vit3", 48, [3, 3, 3, 3]),
        ("test_coatnet", 64, [16, 8, 4, 2]),
        ("mobilenetv3_small_050", 64, [16, 8, 4, 2]),
    ],
)
def test_maps_at_every_layer_can_be_guided(name: str, size: int, sides: list[int]) -> None:
    model = small(name, size)
    images, classes = torch.rand(2, 3, size, size, dtype=torch.float64), torch.tensor([2, 0])
    attributor = InputXGradient(["input", *STAGES])
    weight = next(m.weight for m in model.network.modules() if isinstance(m, nn.Conv2d))

    def maps() -> tuple[dict[str, Tensor], Tensor]:
        forward = attributor.forward(model, images)
        return attributor.attribute_layers(forward, classes, create_graph=True), forward.logits

    found, _ = maps()
    assert [list(of_layer.shape) for of_layer in found.values()] == [[2, s, s] for s in [size, *sides]]
    scales = {layer: of_layer.abs().max().item() for layer, of_layer in found.items()}
    # A layer in front of a norm of each position would have maps of 0, up to the norm's epsilon.
    assert min(scales[layer] for layer in STAGES) > 1e-4 * max(scales[layer] for layer in STAGES)

    def loss() -> Tensor:
        of_layers, logits = maps()
        total = logits.sum()
        for layer, of_layer in of_layers.items():
            total = total + (of_layer / scales[layer]).square().mean()
        return total

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction, step = torch.randn_like(weight), 1e-8
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            weight.add_(sign * step * direction)
        values.append(loss().item())
    expected = (values[0] - values[1]) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-4)


OF_VIT = ["blocks.2", "blocks.5", "blocks.8", "blocks.11.norm1"]


@pytest.mark.parametrize(
    ("name", "prefix", "side", "paths"),
    [
        ("vit_tiny_patch16_224", 1, "first", OF_VIT),
        ("vit_base_patch14_reg4_dinov2", 5, "first", OF_VIT),
        ("vit_base_patch16_siglip_224", 0, "first", [*OF_VIT[:3], "norm"]),
        ("deit_tiny_distilled_patch16_224", 2, "first", OF_VIT),
        (
            "swin_tiny_patch4_window7_224",
            0,
            "last",
            ["layers.1.downsample.norm", "layers.2.downsample.norm", "layers.3.downsample.norm", "norm"],
        ),
        (
            "caformer_s18",
            0,
            "first",
            ["stages.1.downsample.norm", "stages.2.downsample.norm", "stages.3.downsample.norm", "stages.3"],
        ),
        ("resnet50d", 0, "first", ["layer1", "layer2", "layer3", "layer4"]),
        ("vgg16_bn", 0, "first", ["features.22", "features.32", "features.42", "features.43"]),
        ("volo_d1_224", 0, "last", ["network.0", "network.2", "network.3", "norm"]),
    ],
)
def test_layers_of_well_known_networks(name: str, prefix: int, side: str, paths: list[str]) -> None:
    with torch.device("meta"):
        model = timm_classifier(name, 3)
        config: Any = timm.get_pretrained_cfg(name)
        size = config.input_size[-1]
        assert (model.prefix_tokens, model.channels_side) == (prefix, side)
        assert {k: v.removeprefix("network.") for k, v in model.layers.items()} == {
            "input": "encoding"
        } | dict(zip(STAGES, paths, strict=True))
        names = STAGES[:3] if name == "volo_d1_224" else STAGES  # its last norm has a class token, others not
        forward = InputXGradient(names).forward(model, torch.empty(1, 3, size, size))
        for activation in forward.activations.values():
            assert activation.shape[2] == activation.shape[3] <= size / 4


def test_network_without_features_has_module_paths_only() -> None:
    with torch.device("meta"):
        assert list(timm_classifier("twins_svt_small", 3).layers) == ["input"]


def test_networks_of_one_size_are_built_for_the_images() -> None:
    with torch.device("meta"):
        images = torch.rand(1, 3, 64, 64)
        swin = timm_classifier("swin_tiny_patch4_window7_224", 3, image_size=64)
        assert swin(images).shape == (1, 3)
        native = timm_classifier("test_vit", 3)
        assert native(torch.rand(1, 3, 160, 160)).shape == (1, 3)
        with pytest.raises(InputError, match=r"built for images of 160 x 160 pixels and gets 64 x 64"):
            native(images)
        with pytest.raises(InputError, match=r"timm cannot build test_vit with .*model.image_size=0: "):
            timm_classifier("test_vit", 3, image_size=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", r"unknown timm model 'resnet5O'. Did you mean 'resnet50'\? timm.list_models\(\)"),
        ("resnet50.imagenet", r"timm cannot build resnet50.imagenet .*tag"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        timm_classifier(name, 3)


def test_weights_with_a_hash_are_fetched_once_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server, by the project's own download; timm then finds the file in torch's cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    released = timm.create_model("test_resnet")
    content = io.BytesIO()
    torch.save(released.state_dict(), content)
    name = f"test_resnet-{sha256(content.getvalue()).hexdigest()[:8]}.pth"
    with serving() as server:
        server.files[name] = content.getvalue()
        configs = timm.models._registry._model_pretrained_cfgs
        config = replace(configs["test_resnet.r160_in1k"], url=server.url(name), hf_hub_id=None)
        monkeypatch.setitem(configs, "test_resnet.r160_in1k", config)
        model = timm_classifier("test_resnet.r160_in1k", 1000, pretrained=True)
        assert server.asked == [""], "one request for the whole file"
    for key, value in released.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[key], value, msg=key, rtol=0, atol=0)


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        InputError, match=r"cannot build test_vit with model.pretrained=true, .*no route to host"
    ):
        timm_classifier("test_vit", 3, pretrained=True)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r'pip install "model-guidance\[timm\]"'):
        timm_classifier("test_vit", 3)
