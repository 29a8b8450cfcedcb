"""The B-cos VGG equals that of ``bcos`` and can be guided."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from guidance.attribution.bcos import BcosContributions
from guidance.models.bcos_vgg import bcos_vgg11
from tests.models.bcos_family import (
    K,
    Member,
    check_explanation,
    check_guided_gradients,
    check_released_weights,
    check_state_dict,
)


def narrow(network: nn.Module, conv: Any) -> None:
    """Take the hidden layers of the classifier from 4096 channels to 16."""
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Sequential)
    with torch.device("meta"):
        classifier[0] = conv(512, 16, kernel_size=7, padding=3)
        classifier[1] = conv(16, 16)
        classifier[2] = conv(16, K)


VGG = Member(partial(bcos_vgg11, K), "vgg11_bnu")
NARROW = Member(partial(bcos_vgg11, K), "vgg11_bnu", shrink=narrow)


def test_state_dict_is_the_package_s() -> None:
    check_state_dict(VGG)


@pytest.mark.parametrize("training", [False, True])
def test_explanation_is_the_package_s(training: bool) -> None:
    check_explanation(NARROW, training)


@pytest.mark.parametrize("training", [False, True])
def test_guided_gradients_are_the_package_s(training: bool) -> None:
    check_guided_gradients(NARROW, training)


@pytest.mark.slow
def test_the_whole_network_s_explanation_is_the_package_s() -> None:
    check_explanation(VGG)


@pytest.mark.slow
def test_released_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_released_weights(
        bcos_vgg11, "bcos_final", "vgg_11_bnu", "classifier.2.linear.weight", tmp_path, monkeypatch
    )


def test_named_layers_have_the_resolutions_of_a_resnet() -> None:
    with torch.device("meta"):
        model = bcos_vgg11(num_classes=3).eval()
        forward = BcosContributions(list(model.layers)).forward(model, torch.rand(1, 3, 64, 96))
    sizes = {layer: tuple(activation.shape[1:]) for layer, activation in forward.activations.items()}
    assert sizes == {
        "input": (6, 64, 96),
        "mid1": (128, 16, 24),
        "mid2": (256, 8, 12),
        "mid3": (512, 4, 6),
        "final": (512, 2, 3),
    }
