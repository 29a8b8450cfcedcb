"""A training that takes seconds, for tests of everything around the training step."""

import json
import os
import subprocess
import sys
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


def command(program: str, *arguments: str) -> list[str]:
    """Return a command line of the project; a program is a file, as ``train.py``, or a package that runs."""
    started = [str(ROOT / program)] if program.endswith(".py") else ["-m", program]
    return [sys.executable, *started, *arguments]


def environment() -> dict[str, str]:
    """Return an environment in which two processes share two cores and W&B stays offline."""
    return os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HYDRA_FULL_ERROR": "0"}


def run_command(
    program: str, *arguments: str, cwd: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of the project to its end."""
    result = subprocess.run(
        command(program, *arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if check and result.returncode:
        raise AssertionError(f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def results(output_dir: Path) -> dict[str, Any]:
    """Read a run's results."""
    content: dict[str, Any] = json.loads((output_dir / "results.json").read_text())
    return content
