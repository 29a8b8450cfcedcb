"""What a stranger's file may name, and what is refused."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from omegaconf import OmegaConf

from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.models import Classifier, bcos_small
from guidance.untrusted.building import build, build_classifier
from guidance.untrusted.targets import NETWORKS, allowed_names, targets

SMALL = {"_target_": "guidance.models.bcos_small", "width": 4}


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "guidance.models.weights.torch.load",
        "guidance.models.load_start_weights",
        "guidance.models.os.system",
        "guidance.models.__class__",
        "guidance.models.bcos_small.__globals__",
        "guidance.models",
        "guidance.runs.run.train",
        "guidance.attribution.run_model",
        "guidance.attribution.Attributor",
        " guidance.models.bcos_small",
        "",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_other_names_are_refused_and_not_called(name: str, nested: bool) -> None:
    node: dict[str, Any] = {"_target_": name, "command": "exit 1"}
    if nested:
        node = SMALL | {"width": [{"deep": node}]}
    with patch.object(os, "system") as called, pytest.raises(InputError, match="which is not built"):
        build(node, num_classes=3)
    called.assert_not_called()


def test_a_target_that_is_no_name_is_refused() -> None:
    with pytest.raises(InputError, match="must be a name"):
        build({"_target_": ["os", "system"]})


@pytest.mark.parametrize("key", ["_partial_", "_args_", "_recursive_", "_convert_"])
def test_hydra_s_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"has the key {key}"):
        build(SMALL | {key: [1]}, num_classes=3)


def test_every_configuration_names_only_what_is_allowed() -> None:
    allowed = set().union(*map(allowed_names, NETWORKS))
    paths = [*CONFIG_DIR.glob("model/*.yaml"), *CONFIG_DIR.glob("attributor/*.yaml")]
    assert len(paths) > 40
    for path in paths:
        found = list(targets(OmegaConf.to_container(OmegaConf.load(path), resolve=False)))
        assert found
        assert set(found) <= allowed, path.name


def test_a_network_of_one_s_own_is_built_if_its_package_is_trusted() -> None:
    node = {
        "_target_": "guidance.models.Classifier",
        "network": {"_target_": "torchvision.models.resnet18", "num_classes": 3},
        "encoding": {"_target_": "guidance.models.Normalize"},
        "head": "fc",
        "layers": {"final": "layer4"},
    }
    with torch.device("meta"):
        model = build(node, ["torchvision"], num_classes=2)
        assert isinstance(model, Classifier)
        assert model.layers["final"] == "network.layer4"
        for others in (["torch"], "torchvision_and_more"):
            with pytest.raises(InputError, match=r"trusted=\[torchvision\]"):
                build(node, others, num_classes=2)


@pytest.mark.parametrize(
    "name", ["torchvision.gone.Model", "torchvision.models.gone", "torchvision.__name__"]
)
def test_a_trusted_name_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be imported|nothing that can be called"):
        build({"_target_": name}, ["torchvision"])


def test_arguments_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match=r"cannot build guidance\.models\.bcos_small: .*depth"):
        build(SMALL | {"depth": 3}, num_classes=3)


def test_weights_of_another_model_and_other_kinds_of_parts_are_refused() -> None:
    weights = bcos_small(3, width=8).state_dict()
    with pytest.raises(InputError, match="the weights belong to another model: size mismatch"):
        build_classifier(SMALL, 3, weights)
    with pytest.raises(InputError, match="another model"):
        build_classifier(SMALL, 3, {})
    with pytest.raises(InputError, match=r"makes no guidance\.models\.Classifier"):
        build_classifier({"_target_": "torch.nn.Identity"}, 3, {}, ["torch"])


def test_start_weights_are_neither_fetched_nor_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    node = {"_target_": "guidance.models.xdnn_resnet", "depth": 18, "checkpoint": "/gone"}
    with pytest.raises(InputError, match="another model"):
        build_classifier(node, 3, {})
    node = {"_target_": "guidance.models.bcos_resnet", "depth": 18, "pretrained": True}
    with pytest.raises(InputError, match="another model"):
        build_classifier(node, 3, {})
    assert not list(tmp_path.iterdir())
