"""All B-cos ResNets and the ResNeXt against the package's own models of their names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torchvision.ops import StochasticDepth

from guidance.models.bcos_resnet import bcos_resnet, bcos_resnext50
from guidance.models.classifier import Classifier
from tests.models.bcos_family import (
    K,
    Member,
    check_explanation,
    check_guided_gradients,
    check_released_weights,
    check_state_dict,
)

RESNETS = {
    depth: Member(partial(bcos_resnet, depth, K), f"resnet{depth}") for depth in (18, 34, 50, 101, 152)
}
LONG = {
    depth: Member(partial(bcos_resnet, depth, K, weights="long"), f"resnet{depth}_long")
    for depth in (50, 152)
}
RESNEXT = Member(partial(bcos_resnext50, K), "resnext50_32x4d")


@pytest.mark.parametrize("member", [*RESNETS.values(), *LONG.values(), RESNEXT], ids=str)
def test_state_dict_is_the_package_s(member: Member) -> None:
    check_state_dict(member)


@pytest.mark.parametrize(
    ("member", "training"),
    [
        pytest.param(RESNETS[34], True, id="34"),
        pytest.param(RESNETS[101], False, id="101"),
        pytest.param(RESNEXT, False, id="resnext50"),
        pytest.param(RESNEXT, True, id="resnext50 in training"),
        pytest.param(LONG[50], True, id="50 long in training"),
        pytest.param(RESNETS[101], True, id="101 in training", marks=pytest.mark.slow),
        pytest.param(RESNETS[152], True, id="152 in training", marks=pytest.mark.slow),
        pytest.param(LONG[152], True, id="152 long in training", marks=pytest.mark.slow),
    ],
)
def test_explanation_is_the_package_s(member: Member, training: bool) -> None:
    check_explanation(member, training)


@pytest.mark.parametrize(
    ("member", "training"),
    [
        pytest.param(RESNEXT, True, id="resnext50 in training"),
        pytest.param(RESNEXT, False, id="resnext50", marks=pytest.mark.slow),
        pytest.param(RESNETS[34], True, id="34 in training", marks=pytest.mark.slow),
        pytest.param(RESNETS[101], False, id="101", marks=pytest.mark.slow),
        pytest.param(LONG[50], True, id="50 long in training", marks=pytest.mark.slow),
    ],
)
def test_guided_gradients_are_the_package_s(member: Member, training: bool) -> None:
    check_guided_gradients(member, training)


def test_blocks_are_dropped_in_long_training_only() -> None:
    with torch.device("meta"):
        dropping = [
            [m.p for m in bcos_resnet(50, 3, weights=weights).modules() if isinstance(m, StochasticDepth)]
            for weights in ("v2", "long")
        ]
    assert dropping[0] == []
    # The first of the 16 blocks has the probability 0 and no such module.
    assert dropping[1] == pytest.approx([0.1 * block / 15 for block in range(1, 16)])


@pytest.mark.parametrize(
    ("build", "collection", "name"),
    [
        pytest.param(partial(bcos_resnet, 18), "bcos_final", "resnet_18"),
        pytest.param(
            partial(bcos_resnet, 50, weights="long"), "bcos_final_long", "resnet_50", marks=pytest.mark.slow
        ),
        pytest.param(bcos_resnext50, "bcos_final", "resnext_50_32x4d", marks=pytest.mark.slow),
    ],
)
def test_released_weights(
    build: Callable[[int, bool], Classifier],
    collection: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_released_weights(build, collection, name, "fc.linear.weight", tmp_path, monkeypatch)
