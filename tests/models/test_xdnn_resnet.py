"""X-DNN: homogeneity and its axioms, architecture and start by hand, the released file's layout."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guidance.attribution.input_x_gradient import InputXGradient
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.models.classifier import Classifier
from guidance.models.weights import load_start_weights, read_state_dict
from guidance.models.xdnn_resnet import xdnn_resnet

BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}


def trained(depth: int, num_classes: int = 4) -> Classifier:
    """Return a network whose branches do something, in double precision."""
    torch.manual_seed(0)
    model = xdnn_resnet(depth, num_classes).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any():
                fan_in = parameter[0].numel()
                parameter.normal_(std=0.5 * fan_in**-0.5)
            assert "bias" not in name
    return model


def by_hand(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Run the network from its weights' names alone."""
    x = F.max_pool2d(F.relu(F.conv2d(x, weights["conv1.weight"], stride=2, padding=3)), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(36):
            prefix = f"layer{stage}.{block}"
            if f"{prefix}.conv1.weight" not in weights:
                break
            stride = 2 if block == 0 and stage > 1 else 1
            bottleneck = f"{prefix}.conv3.weight" in weights
            out = F.conv2d(
                x,
                weights[f"{prefix}.conv1.weight"],
                stride=1 if bottleneck else stride,
                padding=0 if bottleneck else 1,
            )
            out = F.conv2d(
                F.relu(out), weights[f"{prefix}.conv2.weight"], stride=stride if bottleneck else 1, padding=1
            )
            if bottleneck:
                out = F.conv2d(F.relu(out), weights[f"{prefix}.conv3.weight"])
            shortcut = weights.get(f"{prefix}.downsample.weight")
            x = F.relu(out + (x if shortcut is None else F.conv2d(x, shortcut, stride=stride)))
    return x.mean((2, 3)) @ weights["fc.weight"].T


@pytest.mark.parametrize("depth", [18, 50])
def test_equals_the_architecture_by_hand(depth: int) -> None:
    model = trained(depth)
    images = torch.rand(2, 3, 40, 32, dtype=torch.float64)
    expected = by_hand(model.network.state_dict(), model.encoding(images))
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("depth", [18, 50])
def test_is_nonnegatively_homogeneous(depth: int) -> None:
    network = trained(depth).network
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    logits = network(x)
    for factor in (0.0, 1e-3, 0.7, 40.0):
        torch.testing.assert_close(network(factor * x), factor * logits)
    assert not torch.allclose(network(-x), -logits)


def test_input_x_gradient_equals_integrated_gradients_and_is_complete() -> None:
    model = trained(18)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    classes = torch.tensor([3, 1])
    attributor = InputXGradient("input")
    forward = attributor.forward(model, images)
    maps = attributor.attribute(forward, classes)
    integrated = captum.attr.IntegratedGradients(model.network).attribute(
        model.encoding(images), baselines=0, target=classes, n_steps=64
    )
    torch.testing.assert_close(maps, integrated.sum(1))
    torch.testing.assert_close(maps.sum((1, 2)), forward.logits[[0, 1], classes].detach())
    for layer in ("mid1", "mid3", "final"):
        attributor = InputXGradient(layer)
        of_layer = attributor.attribute(attributor.forward(model, images), classes)
        torch.testing.assert_close(of_layer.sum((1, 2)), maps.sum((1, 2)))


def test_guided_gradient_equals_finite_differences() -> None:
    model = trained(18)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    attributor = InputXGradient("input")
    weight = model.network.get_parameter("layer2.0.conv1.weight")

    def loss() -> Tensor:
        forward = attributor.forward(model, images)
        maps = attributor.attribute(forward, torch.tensor([0, 2]), create_graph=True)
        return maps.sin().sum() + forward.logits.square().sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction, step = torch.randn_like(weight), 1e-8  # small: gates that flip make jumps
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            weight.add_(sign * step * direction)
        values.append(loss().item())
    assert (gradient * direction).sum().item() == pytest.approx(
        (values[0] - values[1]) / (2 * step), rel=1e-4
    )


@pytest.mark.parametrize(
    ("depth", "power"), [(18, -0.5), (34, -0.5), (50, -0.25), (101, -0.25), (152, -0.25)]
)
def test_fixup_initialisation_and_layers(depth: int, power: float) -> None:
    torch.manual_seed(0)
    with torch.device("meta" if depth > 50 else "cpu"):
        model = xdnn_resnet(depth, 3)
    weights = model.network.state_dict()
    last = 3 if depth >= 50 else 2
    names = {f"layer{s + 1}.{b}" for s, count in enumerate(BLOCKS[depth]) for b in range(count)}
    assert {n.rsplit(".", 2)[0] for n in weights if ".conv" in n} == names
    assert not [n for n in weights if not n.endswith(".weight")]
    shortcuts = {n for n in weights if "downsample" in n}
    assert shortcuts == {f"layer{s}.0.downsample.weight" for s in range(1 if depth >= 50 else 2, 5)}
    if depth > 50:
        return
    for name in names:
        assert not weights[f"{name}.conv{last}.weight"].any()
        for number in range(1, last):
            weight = weights[f"{name}.conv{number}.weight"]
            he = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
            expected = he * sum(BLOCKS[depth]) ** power
            assert weight.std().item() == pytest.approx(expected, rel=0.05)
    images = torch.rand(2, 3, 64, 64)
    attributor = InputXGradient(["input", "mid1", "mid2", "mid3", "final"])
    activations = attributor.forward(model, images).activations
    assert [a.shape[-1] for a in activations.values()] == [64, 16, 8, 4, 2]
    assert model(images).std() > 0


def released(num_classes: int = 1000) -> dict[str, Tensor]:
    """Return weights with the names and shapes of the released X-ResNet-50."""
    weights = {"conv1.weight": torch.randn(64, 3, 7, 7)}
    channels = 64
    for stage, count in enumerate(BLOCKS[50], start=1):
        width = 32 * 2**stage
        for block in range(count):
            name = f"layer{stage}.{block}"
            weights[f"{name}.conv1.weight"] = torch.randn(width, channels, 1, 1)
            weights[f"{name}.conv2.weight"] = torch.randn(width, width, 3, 3)
            weights[f"{name}.conv3.weight"] = torch.randn(4 * width, width, 1, 1)
            if block == 0:
                weights[f"{name}.downsample.weight"] = torch.randn(4 * width, channels, 1, 1)
            channels = 4 * width
    return weights | {"fc.weight": torch.randn(num_classes, 2048)}


def test_reads_the_released_file_and_keeps_its_own_classifier(tmp_path: Path) -> None:
    weights = released()
    path = tmp_path / "xfixup_resnet50_model_best.pth.tar"
    parameters = [nn.Parameter(weight) for weight in weights.values()]
    groups: list[dict[str, object]] = [{"params": [], "lr": 0.01}, {"params": []}, {"params": parameters}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    content = {
        "epoch": 90,
        "arch": "xfixup_resnet50",
        "state_dict": {f"module.{name}": weight for name, weight in weights.items()},
        "best_acc1": torch.tensor(72.0),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(content, path)
    model = xdnn_resnet(50, 3)
    classifier = model.network.get_parameter("fc.weight").clone()
    with pytest.warns(UserWarning, match="trained for 1000 classes, not 3: fc.weight starts at random"):
        load_start_weights(model, path)
    for name, weight in model.network.state_dict().items():
        assert torch.equal(weight, classifier if name == "fc.weight" else weights[name])
    assert classifier.std() > 0
    with pytest.raises(InputError, match="belongs to another model"):
        load_start_weights(xdnn_resnet(34, 3), path)
    same_classes = xdnn_resnet(50, 1000)
    load_start_weights(same_classes, path)
    assert torch.equal(same_classes.network.get_parameter("fc.weight"), weights["fc.weight"])


class OfATrainingProgram:
    """Something that no other program can load."""


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "best", [np.float64(72.5), np.float32(72.5), np.int64(72), torch.tensor(72.5), 0, np.float64(1).dtype]
)
def test_files_of_older_programs_load_with_numpy_s_scalars(
    tmp_path: Path, best: object, legacy: bool
) -> None:
    path = tmp_path / "model_best.pth.tar"
    weights = {"module.conv1.weight": torch.randn(4, 3, 1, 1)}
    content = {"epoch": 100, "arch": "xfixup_resnet50", "state_dict": weights, "best_acc1": best}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    (name, found), *rest = read_state_dict(path).items()
    assert (name, rest) == ("conv1.weight", [])
    assert torch.equal(found, weights["module.conv1.weight"])


def test_numpy_1_named_its_scalars_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save(
        {"state_dict": {"a": torch.ones(2)}, "best": np.float64(3)},
        path,
        _use_new_zipfile_serialization=False,
    )
    content = path.read_bytes()
    assert content.count(b"numpy._core.multiarray") == 1
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_state_dict(path)["a"].tolist() == [1, 1]


OWN = "tests.models.test_xdnn_resnet.OfATrainingProgram"


@pytest.mark.parametrize(
    ("entry", "named", "legacy", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace", False, "xfixup_resnet50_model_best.pth.tar"),
        (OfATrainingProgram(), OWN, True, "xfixup_resnet50_model_best.pth.tar"),
        (OfATrainingProgram(), OWN, False, 'it\'s "$(touch ran)" `touch ran`.pth'),
    ],
)
def test_what_else_a_file_holds_is_named_and_how_to_leave_it_out(
    tmp_path: Path, entry: object, named: str, legacy: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    content = {"state_dict": {"module.fc.weight": torch.ones(2, 2)}, "args": entry}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=rf"holds more than weights \({named}\)") as raised:
        read_state_dict(path)
    assert "\n" not in str(raised.value)
    monkeypatch.chdir(tmp_path)
    (arguments,) = re.findall(r"python (-c .*)", str(raised.value))
    root = {"PYTHONPATH": str(CONFIG_DIR.parent)}
    subprocess.run(f"{sys.executable} {arguments}", shell=True, check=True, env=os.environ | root)  # noqa: S602 - as typed
    assert not (tmp_path / "ran").exists(), "a file's name is no command"
    (converted,) = tmp_path.glob("*_weights.pth")
    assert read_state_dict(converted)["fc.weight"].shape == (2, 2)


def test_wrong_depth_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.depth '20'\..* Known: 101, 152, 18, 34, 50"):
        xdnn_resnet(20, 3)
