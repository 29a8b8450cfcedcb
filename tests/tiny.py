"""A training that takes seconds, for tests of everything around the training step."""

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from guidance.command_line import CONFIG_DIR
from guidance.run_directory import register_resolvers

ROOT = CONFIG_DIR.parent
OVERRIDES = [
    "data.length={train: 40, val: 12, test: 12}",
    "data.image_size=32",
    "data.batch_size=8",
    "model=bcos_small",
    "model.width=8",
    "optimizer.lr=1e-3",
    "trainer.max_epochs=2",
    "callbacks.gallery.num_images=2",
    "trainer.enable_progress_bar=false",
]


def composed(output_dir: Path, *overrides: str) -> DictConfig:
    """Compose the configuration of a run without starting Hydra."""
    register_resolvers()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", [f"paths.output_dir={output_dir}", *overrides])


def tiny_config(output_dir: Path, *overrides: str) -> DictConfig:
    """Compose the configuration of a tiny run."""
    return composed(output_dir, *OVERRIDES, *overrides)


def results(output_dir: Path) -> dict[str, Any]:
    """Read a run's results."""
    content: dict[str, Any] = json.loads((output_dir / "results.json").read_text())
    return content
