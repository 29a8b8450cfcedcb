"""What a report has to ask a checkpoint itself: test metrics that are missing, and maps."""

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor

from guidance.checkpoints.reading import load_weights, read_checkpoint
from guidance.command_line import CONFIG_DIR
from guidance.data import Batch, GuidanceDataModule
from guidance.errors import InputError
from guidance.files import write_json
from guidance.foreign_text import read_json
from guidance.maps import energy_in_mask
from guidance.models import cpu_kernels
from guidance.progress import progress_over
from guidance.report.run import Metrics, Point
from guidance.runs.building import build_data, build_module, build_trainer
from guidance.runs.run import evaluate_splits, quiet_lightning
from guidance.training.explained_pairs import choose_pairs, explain_pairs
from guidance.training.module import GuidedClassifier
from guidance.untrusted.stored_config import stored_config

log = logging.getLogger(__name__)

_ANY_DEVICE = {"accelerator": "auto", "devices": 1, "strategy": "auto", "enable_progress_bar": False}


@dataclass(frozen=True)
class Explained:
    """A map of a checkpoint.

    Attributes:
        image: RGB, uint8 [3, H, W].
        boxes: Of the class, xyxy [M, 4].
        class_name: What is explained.
        attribution: Signed, [h, w].
        energy: The map's EPG.
        probability: Of the class.
    """

    image: Tensor
    boxes: Tensor
    class_name: str
    attribution: Tensor
    energy: float
    probability: float


class Checkpoints:
    """Loads checkpoints with their own data, model and attributor. Data sets are opened once.

    Args:
        data_root: Replaces ``data.root`` where a configuration has one: the folder may be elsewhere now.
        trusted: Packages of one's own that checkpoints may name, see
            :func:`guidance.untrusted.targets.find_target`.
    """

    def __init__(self, data_root: str | Path | None = None, trusted: Collection[str] = ()) -> None:
        self.data_root = data_root
        self.trusted = trusted
        self._opened: dict[str, GuidanceDataModule] = {}
        self._pairs: dict[tuple[str, int, int], tuple[Batch, Tensor] | None] = {}
        quiet_lightning()

    def test(self, path: Path) -> Metrics:
        """Evaluate a checkpoint on the test split.

        Raises:
            InputError: If the checkpoint or its data cannot be read.
        """
        module, datamodule, trainer, _ = self._load(path)
        with cpu_kernels():
            return evaluate_splits(trainer, module, datamodule, ("test",))

    def explain(self, path: Path, count: int, seed: int) -> list[Explained]:
        """Explain test images that a seed chooses.

        Args:
            path: The checkpoint.
            count: How many images at most.
            seed: Chooses the images and in each a class with a box; the same ones for every checkpoint of one
                data set.

        Returns:
            One map per image; none if no test image has a box.

        Raises:
            InputError: If the checkpoint or its data cannot be read.
        """
        module, datamodule, trainer, opened = self._load(path)
        key = (opened, count, seed)
        if key not in self._pairs:
            self._pairs[key] = choose_pairs(datamodule.prepared("test"), count, seed)
        pairs = self._pairs[key]
        if pairs is None:
            return []
        batch, classes = pairs
        module.to(trainer.strategy.root_device)
        maps, probabilities = explain_pairs(module, batch, classes)
        energies = energy_in_mask(maps, batch.masks(torch.arange(len(batch)), classes))
        return [
            Explained(
                image=batch.images[i],
                boxes=batch.boxes[(batch.box_images == i) & (batch.box_classes == k)],
                class_name=module.classes[k],
                attribution=maps[i],
                energy=float(energies[i]),
                probability=float(probabilities[i]),
            )
            for i, k in enumerate(classes.tolist())
        ]

    def _load(self, path: Path) -> tuple[GuidedClassifier, GuidanceDataModule, pl.Trainer, str]:
        if not path.is_file():
            raise InputError(f"no file {path}")
        content = read_checkpoint(path)
        config = OmegaConf.create(stored_config(content, path, self.trusted))
        if self.data_root is not None and "root" in config.data:
            config.data.root = str(self.data_root)
        opened = _evaluated_data(config)
        if opened not in self._opened:
            self._opened[opened] = build_data(config)
        datamodule = self._opened[opened]
        pl.seed_everything(config.seed, workers=True, verbose=False)
        # Maps and metrics need neither the loss nor the optimizer, and one device of whatever is there.
        parts = OmegaConf.create({key: config[key] for key in ("model", "attributor", "seed")})
        module = build_module(parts, datamodule, start_weights=False)
        load_weights(module, content)
        config.trainer = OmegaConf.load(CONFIG_DIR / "trainer" / "cpu.yaml")
        config.trainer.update(_ANY_DEVICE | {"precision": config.get("precision", "32-true")})
        return module, datamodule, build_trainer(config, [], []), opened


def _evaluated_data(config: DictConfig) -> str:
    """Return what decides how a data set is opened for evaluation: not the seed, nor what training adds."""
    data = cast("dict[str, Any]", OmegaConf.to_container(config.data, resolve=True))
    for key in ("seed", "augmentation", "annotated_fraction", "box_dilation"):
        data.pop(key, None)
        data["module"].pop(key, None)
    return json.dumps(data, sort_keys=True, default=str)


def add_test_metrics(points: Sequence[Point], checkpoints: Checkpoints) -> list[str]:
    """Evaluate on test what was not, once: the metrics go into ``front.json`` of the run.

    Args:
        points: Each with a checkpoint.
        checkpoints: Evaluates them.

    Returns:
        What could not be evaluated and why, one sentence each.
    """
    problems = []
    missing = [point for point in points if "test/f1_micro" not in point.metrics]
    console = Console(stderr=True)
    with progress_over(missing, "evaluating on test", shown=bool(missing), console=console) as remaining:
        for point in remaining:
            try:
                found = checkpoints.test(point.path)
            except InputError as error:
                problems.append(f"{point.run.name}, epoch {point.epoch} has no test metrics: {error}")
                continue
            point.metrics |= {key: value for key, value in found.items() if key.startswith("test/")}
            _keep(point, found)
    return problems


def _keep(point: Point, found: Metrics) -> None:
    """Write test metrics into the run's ``front.json``, where the run itself would have put them."""
    path = point.run.folder / "pareto" / "front.json"
    if path.parent.resolve() != path.parent:
        log.warning("%s: test metrics are not kept: it lies outside the run's folder", path)
        return
    content = read_json(path)
    for entry in content["front"]:
        if entry["checkpoint"] == point.checkpoint:
            entry["test"] = found
    try:
        write_json(path, content)
    except OSError as error:
        log.warning("%s: test metrics are not kept: %s", path, error)
