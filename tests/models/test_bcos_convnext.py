"""B-cos ConvNeXts equal those of ``bcos`` and can be guided."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from guidance.attribution.bcos import BcosContributions
from guidance.errors import InputError
from guidance.models.bcos_convnext import bcos_convnext
from guidance.models.classifier import Classifier
from tests.models.bcos_family import (
    K,
    Member,
    check_explanation,
    check_guided_gradients,
    check_released_weights,
    check_state_dict,
)

ENTRIES = {
    ("tiny", "pn"): "convnext_tiny",
    ("tiny", "bnu"): "convnext_tiny_bnu",
    ("base", "pn"): "convnext_base",
    ("base", "bnu"): "convnext_base_bnu",
}
MEMBERS = {
    (size, norm): Member(partial(bcos_convnext, size, K, norm=norm), entry)
    for (size, norm), entry in ENTRIES.items()
}


def shorten(network: nn.Module, _: object) -> None:
    """Keep one block of each stage; the last one's may be dropped in training."""
    features = network.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    for stage in (2, 4, 6, 8):
        blocks = features[stage]
        assert isinstance(blocks, nn.Sequential)
        features[stage] = blocks[-1:]


SHORT = {
    norm: Member(partial(bcos_convnext, "tiny", K, norm=norm), ENTRIES["tiny", norm], shrink=shorten)
    for norm in ("pn", "bnu")
}


@pytest.mark.parametrize("member", MEMBERS.values(), ids=str)
def test_state_dict_is_the_package_s(member: Member) -> None:
    check_state_dict(member)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["pn", "bnu"])
def test_explanation_is_the_package_s(norm: str, training: bool) -> None:
    check_explanation(SHORT[norm], training)


@pytest.mark.parametrize(
    ("size", "norm", "training"),
    [
        ("tiny", "pn", True),
        ("tiny", "bnu", False),
        pytest.param("base", "pn", True, marks=pytest.mark.slow),
        pytest.param("base", "bnu", False, marks=pytest.mark.slow),
    ],
)
def test_explanation_of_the_whole_network_is_the_package_s(size: str, norm: str, training: bool) -> None:
    check_explanation(MEMBERS[size, norm], training)


@pytest.mark.parametrize(("norm", "training"), [("pn", True), ("bnu", True), ("bnu", False)])
def test_guided_gradients_are_the_package_s(norm: str, training: bool) -> None:
    check_guided_gradients(SHORT[norm], training)


@pytest.mark.parametrize("norm", ["pn", pytest.param("bnu", marks=pytest.mark.slow)])
def test_released_weights(norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(num_classes: int, pretrained: bool) -> Classifier:
        return bcos_convnext("tiny", num_classes, pretrained, norm)

    check_released_weights(
        build,
        "bcos_final_long",
        f"convnext_tiny_{norm}",
        "classifier.1.linear.weight",
        tmp_path,
        monkeypatch,
    )


def test_named_layers_halve_the_resolution() -> None:
    with torch.device("meta"):
        model = bcos_convnext("base", num_classes=3).eval()
        forward = BcosContributions(list(model.layers)).forward(model, torch.rand(1, 3, 64, 96))
    sizes = {layer: tuple(activation.shape[1:]) for layer, activation in forward.activations.items()}
    assert sizes == {
        "input": (6, 64, 96),
        "mid1": (128, 16, 24),
        "mid2": (256, 8, 12),
        "mid3": (512, 4, 6),
        "final": (1024, 2, 3),
    }
    stages = [model.get_submodule(model.layers[layer]) for layer in ("mid1", "mid2", "mid3", "final")]
    assert [len(list(stage.children())) for stage in stages] == [3, 3, 27, 3]


@pytest.mark.parametrize(("size", "most"), [("tiny", 0.1), ("base", 0.5)])
def test_blocks_are_dropped_as_released(size: str, most: float) -> None:
    with torch.device("meta"):
        model = bcos_convnext(size, num_classes=3)
    probabilities = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
    assert (min(probabilities), max(probabilities)) == (0, pytest.approx(most))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.size 'tini'. Did you mean 'tiny'"):
        bcos_convnext("tini", 20)
    with pytest.raises(InputError, match=r"unknown model.norm 'bn'. Did you mean 'bnu'"):
        bcos_convnext("tiny", 20, norm="bn")
