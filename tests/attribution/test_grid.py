"""The whole grid of attributions and kinds of models, against the table of the documentation."""

import re
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torchvision.models import VisionTransformer

from guidance.attribution import Attributor
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.models import (
    BcosConv2d,
    Classifier,
    DynamicAlignmentConv2d,
    Normalize,
    bcos_small,
    bcos_vit,
    coda_small,
    torchvision_classifier,
    xdnn_resnet,
)

ROOT = CONFIG_DIR.parent
NAMES = sorted(path.stem for path in (CONFIG_DIR / "attributor").glob("*.yaml"))
CHEAP: dict[str, dict[str, object]] = {
    "rise": {"masks": 4},
    "occlusion": {"window": 32, "stride": 32},
    "integrated_gradients": {"steps": 2},
    "smoothed_integrated_gradients": {"attributor": {"steps": 2}},
}


def table() -> dict[str, list[str]]:
    """Return what the documentation says of each attribution, model by model."""
    text = (ROOT / "docs" / "attributions.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")[:6]] for name, cells in rows}


def vision_transformer() -> Classifier:
    network = VisionTransformer(32, 8, 2, 2, 16, 32)
    layers = {
        "mid2": "encoder.layers.encoder_layer_0",
        "final": "encoder.layers.encoder_layer_1.ln_1",
    }
    return Classifier(network, Normalize(), 3, layers, head="heads.head", prefix_tokens=1)


@cache
def models() -> list[tuple[str, Classifier, int]]:
    """Return a model of each kind, in the order of the table's columns, and the side of its images."""
    torch.manual_seed(0)
    return [
        ("B-cos CNN", bcos_small(3, width=8).eval(), 32),
        ("B-cos ViT", bcos_vit("ti", 3).eval(), 32),
        ("CoDA", coda_small(3, width=4, rank=4).eval(), 32),
        ("X-DNN", xdnn_resnet(18, 3).eval(), 64),
        ("standard CNN", torchvision_classifier("resnet18", 3).eval(), 64),
        ("standard ViT", vision_transformer().eval(), 32),
    ]


def attributor(name: str, layer: str) -> Attributor:
    config = OmegaConf.load(CONFIG_DIR / "attributor" / f"{name}.yaml")
    config.layer = layer
    made = instantiate(OmegaConf.merge(config, CHEAP.get(name, {})))
    assert isinstance(made, Attributor)
    return made


def test_the_table_has_every_attribution() -> None:
    assert sorted(table()) == NAMES


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_says(name: str, column: int) -> None:
    _, model, side = models()[column]
    says = table()[name][column]
    images, classes = torch.rand(2, 3, side, side), torch.tensor([2, 0])
    for layer in ("input", "mid2", "final"):
        if layer == "input" and name in ("ablationcam", "scorecam"):
            continue  # one pass per channel, of which the input has few and other layers enough
        made = attributor(name, layer)
        if says == "-":
            with pytest.raises(InputError):
                made.check(model)
            continue
        made.check(model)
        assert made.guides == (says == "guide")
        if not made.guides and layer == "final" and name in ("ablationcam", "scorecam") and side == 64:
            layer_channels = made.forward(model, images).activations["final"].shape[1]
            assert layer_channels == 512  # their cost, tested with small networks elsewhere
            continue
        forward = made.forward(model, images)
        maps = made.attribute(forward, classes, create_graph=made.guides)
        assert maps.shape[0] == 2
        assert maps.ndim == 3
        assert maps.isfinite().all()
        if made.guides:
            loss = maps.square().sum() + forward.logits.sum()
            parameters = [p for p in model.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            assert all(g.isfinite().all() for g in gradients if g is not None)
            assert any(bool(g.abs().sum() > 0) for g in gradients if g is not None)


def test_the_kinds_are_what_they_are_called() -> None:
    kinds = [any(isinstance(m, BcosConv2d) for m in model.modules()) for _, model, _ in models()]
    assert kinds[0]
    assert not any(kinds[2:])
    assert any(isinstance(m, DynamicAlignmentConv2d) for m in models()[2][1].modules())
    assert any(isinstance(m, nn.ReLU) for m in models()[4][1].modules())
