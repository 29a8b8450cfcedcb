"""B-cos DenseNets equal those of ``bcos`` and can be guided."""

from functools import partial
from pathlib import Path

import pytest
import torch

from guidance.attribution.bcos import BcosContributions
from guidance.errors import InputError
from guidance.models.bcos_densenet import bcos_densenet
from tests.models.bcos_family import (
    K,
    Member,
    check_explanation,
    check_guided_gradients,
    check_released_weights,
    check_state_dict,
)

MEMBERS = {
    depth: Member(partial(bcos_densenet, depth, K), f"densenet{depth}") for depth in (121, 161, 169, 201)
}
LONG = Member(partial(bcos_densenet, 121, K, weights="long"), "densenet121_long")


@pytest.mark.parametrize("member", [*MEMBERS.values(), LONG], ids=str)
def test_state_dict_is_the_package_s(member: Member) -> None:
    check_state_dict(member)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "depth", [121, 169, pytest.param(161, marks=pytest.mark.slow), pytest.param(201, marks=pytest.mark.slow)]
)
def test_explanation_is_the_package_s(depth: int, training: bool) -> None:
    check_explanation(MEMBERS[depth], training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [121, pytest.param(169, marks=pytest.mark.slow)])
def test_guided_gradients_are_the_package_s(depth: int, training: bool) -> None:
    check_guided_gradients(MEMBERS[depth], training)


@pytest.mark.parametrize(("weights", "collection"), [("v2", "bcos_final"), ("long", "bcos_final_long")])
def test_released_weights(
    weights: str, collection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_released_weights(
        partial(bcos_densenet, 121, weights=weights),
        collection,
        "densenet_121",
        "classifier.linear.weight",
        tmp_path,
        monkeypatch,
    )


def test_named_layers_halve_the_resolution() -> None:
    model = bcos_densenet(121, num_classes=3).eval()
    forward = BcosContributions(list(model.layers)).forward(model, torch.rand(1, 3, 64, 96))
    sizes = {layer: tuple(activation.shape[1:]) for layer, activation in forward.activations.items()}
    assert sizes == {
        "input": (6, 64, 96),
        "mid1": (256, 16, 24),
        "mid2": (512, 8, 12),
        "mid3": (1024, 4, 6),
        "final": (1024, 2, 3),
    }


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.depth '122'. Did you mean '121'"):
        bcos_densenet(122, 20)
    with pytest.raises(InputError, match=r"unknown model.weights of densenet_169 'long'. Known: v2"):
        bcos_densenet(169, 20, weights="long")
    with pytest.raises(InputError, match="at least 2 classes; the data set has 1"):
        bcos_densenet(121, 1)
