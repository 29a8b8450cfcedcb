"""An exported model is the same to the last bit, and needs neither Lightning nor Hydra."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from guidance.errors import InputError
from guidance.export import load_exported, write_exported
from guidance.models import Classifier, load_start_weights
from guidance.models.bcosified import BcosifiedClassifier
from guidance.untrusted.building import build, build_attributor
from tests.tiny import ROOT

CLASSES = ["cat", "dog", "übergroßes <Tier>"]
BCOS = {"_target_": "guidance.attribution.BcosContributions", "layer": "input"}
IXG = {"_target_": "guidance.attribution.InputXGradient", "layer": ["input", "final"]}
GRADCAM = {"_target_": "guidance.attribution.GradCAM", "layer": "final", "relu": False}
SMOOTHED = {
    "_target_": "guidance.attribution.Smoothed",
    "attributor": GRADCAM | {"layer": "mid3"},
    "kernel_size": 3,
}
LITE = {"_target_": "guidance.models.efficientnet_lite0", "pretrained": True}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "B-cos CNN": ({"_target_": "guidance.models.bcos_small", "width": 4}, BCOS, 32),
    "B-cos ViT": ({"_target_": "guidance.models.bcos_vit", "size": "ti", "conv_stem": True}, BCOS, 32),
    "torchvision": (
        {"_target_": "guidance.models.torchvision_classifier", "name": "shufflenet_v2_x0_5"},
        IXG,
        64,
    ),
    "timm": (
        {"_target_": "guidance.models.timm_classifier", "name": "test_vit", "image_size": 64},
        IXG,
        64,
    ),
    "B-cosified": ({"_target_": "guidance.models.bcosified", "base": "resnet18", "b": 2.0}, BCOS, 32),
    "EfficientNet-lite0": (
        {"_target_": "guidance.models.efficientnet_lite0", "pretrained": True},
        SMOOTHED,
        64,
    ),
}


def trained(node: dict[str, Any]) -> Classifier:
    """Return a model whose every tensor is unlike what it starts with."""
    torch.manual_seed(0)
    model: Classifier = build(node, num_classes=3)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point() and tensor is not getattr(model.encoding, "mean", None):
                tensor.mul_(torch.empty_like(tensor).uniform_(0.8, 1.25)).add_(0.01)
    if isinstance(model, BcosifiedClassifier):
        model.set_exponent(1.25)
    return model.eval()


def maps(model: Classifier, attributor: Any, size: int, dtype: torch.dtype) -> list[Tensor]:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)
    forward = attributor.forward(model, images)
    layers = attributor.attribute_layers(forward, torch.tensor([2, 0]))
    return [forward.logits.detach(), *layers.values()]


def with_encoding_of_default(node: dict[str, Any]) -> Classifier:
    model = trained(node)
    fresh: Classifier = build(node, num_classes=3)
    model.encoding = fresh.encoding  # its constants are the architecture's
    return model


@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, torch.float32) for case in CASES), ("B-cos CNN", torch.float64)]
)
def test_logits_and_maps_are_equal_to_the_last_bit(case: str, dtype: torch.dtype, tmp_path: Path) -> None:
    node, of_attributor, size = CASES[case]
    model = with_encoding_of_default(node).to(dtype)
    pretrained = {"pretrained": True, "checkpoint": "gone.ckpt"} if case != "B-cos CNN" else {}
    write_exported(
        tmp_path, model.state_dict(), node | pretrained, of_attributor, CLASSES, size, 0.35, {"epoch": 3}
    )
    exported = load_exported(tmp_path)
    again, attributor, classes = exported
    assert classes == tuple(CLASSES)
    assert (exported.image_size, exported.iou_threshold, exported.provenance) == (size, 0.35, {"epoch": 3})
    expected = maps(model, build_attributor(of_attributor, model), size, dtype)
    found = maps(again, attributor, size, dtype)
    assert all(value.abs().max() > 0 for value in expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    if isinstance(again, BcosifiedClassifier):
        assert again.exponent == 1.25
    fresh = with_encoding_of_default(node)
    load_start_weights(fresh.to(dtype), tmp_path / "model.safetensors")
    assert all(torch.equal(v, fresh.state_dict()[k]) for k, v in model.state_dict().items())


def test_shared_and_oddly_laid_out_tensors_survive(tmp_path: Path) -> None:
    node, of_attributor, size = CASES["B-cos CNN"]
    weights = trained(node).state_dict()
    first = next(name for name, value in weights.items() if value.ndim == 4 and value.shape[1] > 1)
    assert not weights[first].is_contiguous()
    same = [name for name, value in weights.items() if value.ndim == 1 and value.numel() == 4][:2]
    shared = torch.rand(8)[::2]
    weights |= dict.fromkeys(same, shared)
    assert len(same) == 2
    write_exported(tmp_path, weights, node, of_attributor, CLASSES, size)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[name], weights[name]) for name in weights)


def test_of_several_types_is_refused_and_nothing_written(tmp_path: Path) -> None:
    node, of_attributor, size = CASES["B-cos CNN"]
    weights = trained(node).state_dict()
    name = next(name for name, value in weights.items() if value.ndim == 4)
    weights[name] = weights[name].double()
    with pytest.raises(InputError, match=r"several types: torch\.float32, torch\.float64"):
        write_exported(tmp_path / "new", weights, node, of_attributor, CLASSES, size)
    assert not (tmp_path / "new").exists()


def test_loading_imports_neither_lightning_nor_hydra(tmp_path: Path) -> None:
    node, of_attributor, size = CASES["B-cos CNN"]
    write_exported(tmp_path, trained(node).state_dict(), node, of_attributor, CLASSES, size)
    code = (
        "import sys\n"
        "from guidance.export import load_exported\n"
        f"model, attributor, classes = load_exported({str(tmp_path)!r})\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(names & {'pytorch_lightning', 'lightning_fabric', 'hydra', 'omegaconf', 'wandb'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout == "[]\n"
