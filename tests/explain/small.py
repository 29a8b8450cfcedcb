"""A checkpoint of an untrained network, and images, for explanations in a moment."""

import csv
import io
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from guidance.checkpoints.reading import compose_each, register_checkpoint_config
from guidance.command_line import CONFIG_DIR
from guidance.explain.__main__ import explain
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_data, build_module
from tests.tiny import tiny_config

BOXES = [[2, 3, 20, 11]]


def write_checkpoint(path: Path, *overrides: str, seed: int = 0) -> Path:
    """Write a checkpoint as training would, without training."""
    config = tiny_config(path.parent, "loss=none", *overrides)
    torch.manual_seed(seed)
    module = build_module(config, build_data(config))
    content = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def write_image(path: Path, width: int = 40, height: int = 24, seed: int = 0) -> Path:
    """Write an image without loss."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path)
    return path


def composed(output_dir: Path, *overrides: str, checkpoints: list[Path] | None = None) -> list[DictConfig]:
    """Compose the configurations of one command."""
    register_resolvers()
    paths = [str(path) for path in checkpoints or []]
    arguments = [f"paths.output_dir={output_dir}", *overrides]
    given = [f"ckpt_path=[{','.join(paths)}]"] if paths else []
    register_checkpoint_config(given, "explain", instead=())
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        if paths:
            return compose_each("explain", [*given, *arguments], paths)
        return [compose("explain", arguments)]


def explained(
    output_dir: Path, *overrides: str, checkpoints: list[Path] | None = None
) -> tuple[list[dict[str, str]], str, list[str]]:
    """Explain; return the lines of the table, what was printed, and the problems."""
    printed = io.StringIO()
    configs = composed(output_dir, *overrides, checkpoints=checkpoints)
    problems = explain(configs, Console(file=printed, width=200))
    with (output_dir / "explanations.csv").open(newline="") as file:
        return list(csv.DictReader(file)), printed.getvalue(), problems
