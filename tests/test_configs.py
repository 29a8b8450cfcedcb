"""Every configuration file composes, and what it names can be built."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from guidance.checkpoints.reading import register_checkpoint_config
from guidance.command_line import CONFIG_DIR
from guidance.data import GuidanceDataModule
from guidance.protocols import Protocol
from guidance.runs.building import build_module, build_trainer
from tests.tiny import composed

OPTIONS = sorted(
    (path.parent.relative_to(CONFIG_DIR).as_posix(), path.stem) for path in CONFIG_DIR.glob("*/*.yaml")
)
# What an option needs to be built here: other choices that go with it.
EVALUATION = ["loss=none"]
NEEDS = {
    ("attributor", "ablationcam"): EVALUATION,
    ("attributor", "guided_backprop"): ["model=resnet18"],
    ("attributor", "lrp"): ["model=resnet18"],
    ("attributor", "occlusion"): EVALUATION,
    ("attributor", "rise"): EVALUATION,
    ("attributor", "scorecam"): EVALUATION,
    ("callbacks", "anneal_bcosification"): ["model=bcosified"],
    ("model", "resnet18"): ["attributor=ixg"],
    ("model", "resnet50"): ["attributor=ixg"],
    ("model", "torchvision"): ["model.name=resnet18", "attributor=ixg"],
    ("model", "timm"): ["model.name=resnet10t", "attributor=ixg"],
    ("model", "efficientnet_lite0"): ["attributor=gradcam"],
    ("trainer", "gpu"): ["trainer.accelerator=cpu"],
    ("trainer", "ddp"): ["trainer.accelerator=cpu", "trainer.devices=2"],
} | {("model", f"xdnn_resnet{depth}"): ["attributor=ixg"] for depth in (18, 34, 50, 101, 152)}
TEACHER = {"map_similarity", "e2kd"}  # need a trained one, which another test makes
DATA_NOT_ON_DISK = {"coco2014", "coco2017", "folder", "voc2007", "voc2007_published", "voc2012", "waterbirds"}


OF_TRAINING = [o for o in OPTIONS if o[0] not in ("hydra", "protocol") and o[1] not in TEACHER]


@pytest.mark.parametrize(("group", "option"), OF_TRAINING)
def test_every_option_composes_and_builds(group: str, option: str, tmp_path: Path) -> None:
    config = composed(tmp_path, f"{group}={option}", *NEEDS.get((group, option), []))
    OmegaConf.resolve(config)
    if option in DATA_NOT_ON_DISK:
        assert isinstance(instantiate(config.data.module), GuidanceDataModule)
        return
    datamodule = instantiate(config.data.module)
    if group in ("model", "architecture"):
        with torch.device("meta"):  # some have half a gigabyte of weights
            build_module(config, datamodule, start_weights=False)
        return
    module = build_module(config, datamodule)
    assert module.configure_optimizers().param_groups[0]["lr"] == config.optimizer.lr
    build_trainer(config, [instantiate(node) for node in config.callbacks.values() if node], [])
    for node in config.logger.values():
        instantiate(node)


def test_every_group_is_part_of_train_or_evaluate() -> None:
    groups = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    text = "".join((CONFIG_DIR / f"{program}.yaml").read_text() for program in ("train", "evaluate"))
    assert all(f"- {group}:" in text for group in groups)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "protocol"])
def test_every_protocol_composes_and_builds(option: str) -> None:
    register_checkpoint_config(["data=shapes", "model=bcos_small"])
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", ["data=shapes", "model=bcos_small", f"protocol={option}"])
    assert isinstance(instantiate(config.protocol, _convert_="all"), Protocol)


def test_debug_and_experiment_come_last() -> None:
    """They may change whatever the other groups set."""
    lines = [line.strip() for line in (CONFIG_DIR / "train.yaml").read_text().splitlines()]
    assert lines.index("- debug: null") > lines.index("- experiment: null") > lines.index("- hydra: train")
