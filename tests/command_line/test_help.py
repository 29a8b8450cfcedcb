"""The help names all there is, at once; the programs at the root are thin."""

import subprocess
import sys
from pathlib import Path

import pytest

from guidance.command_line import CONFIG_DIR, check_overrides
from tests.commands import run_command
from tests.nursery import environment
from tests.tiny import ROOT

GROUPS = sorted(path.name for path in CONFIG_DIR.iterdir() if path.is_dir() and path.name != "hydra")


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_help_names_every_group_option_and_an_example_of_each(program: str, tmp_path: Path) -> None:
    text = run_command(program, "--help", cwd=tmp_path).stdout
    for group in GROUPS:
        options = {path.stem for path in (CONFIG_DIR / group).glob("*.yaml")}
        listed = next(line for line in text.splitlines() if line.startswith(f"{group}: "))
        assert options <= set(listed.partition(": ")[2].split(", "))
        assert f"\n  {group} " in text, f"no example for {group}"
    assert "python train.py [group=option ...]" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_help_loads_nothing_that_takes_long(program: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / program), "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "hydra" in loaded
    slow = {"torch", "torchvision", "pytorch_lightning", "torchmetrics", "wandb", "matplotlib", "bcos"}
    assert not loaded & slow


def test_examples_of_the_help_are_right() -> None:
    """Every `python train.py ...` in the help composes (paths and files need not exist)."""
    lines = (CONFIG_DIR / "hydra" / "default.yaml").read_text().splitlines()
    examples = [line.split("python train.py ", 1)[1] for line in lines if "  python train.py " in line]
    examples = [example.split("   ")[0].split("      (")[0] for example in examples]
    assert len(examples) >= len(GROUPS)
    for example in examples:
        if not example.startswith("["):
            check_overrides("train", example.split())


def test_root_scripts_are_thin() -> None:
    assert all(len((ROOT / name).read_text().splitlines()) < 40 for name in ("train.py", "evaluate.py"))
