"""Two processes train the same network as one with the same global batch, and evaluate every image once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import run_command
from tests.tiny import OVERRIDES, results

STEPS = [
    *OVERRIDES,
    "data.length={train: 160, val: 13, test: 11}",
    "trainer.max_epochs=1",
    "test_front=false",
]
ONE: tuple[str, ...] = ("trainer=cpu",)
TWO: tuple[str, ...] = ("trainer=ddp_cpu", "trainer.devices=2")


def train(folder: Path, *arguments: str) -> dict[str, Any]:
    run = run_command("train.py", *STEPS, *arguments, f"hydra.run.dir={folder}", cwd=folder.parent)
    assert "Warning" not in run.stderr
    content: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 20
    return content


# Adam turns the rounding of a gradient near 0 into a step of the size of its learning rate: in float32 the
# comparison holds at the default rate of 1e-4, in float64 at any.
FLOAT32 = ("optimizer.lr=1e-4",)
FLOAT64 = ("trainer.precision=64-true",)
SOME_SUMMED = ("loss.reduction=sum", "loss.weight=0.005", "data.annotated_fraction=0.3")
ACCUMULATED = ("data.batch_size=4", "trainer.accumulate_grad_batches=2")


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        pytest.param(FLOAT32, 1e-5, marks=pytest.mark.slow),
        ((*FLOAT64, *SOME_SUMMED, "attributor.layer=mid2", "loss=l1"), 1e-9),
        ((*FLOAT64, *ACCUMULATED, "trainer.gradient_clip_val=0.05"), 1e-8),
    ],
)
def test_two_processes_equal_one(tmp_path: Path, options: tuple[str, ...], tolerance: float) -> None:
    one = train(tmp_path / "one", *ONE, "trainer.max_epochs=1", *options)
    two = train(tmp_path / "two", *TWO, "trainer.max_epochs=1", *options)
    moved = 0.0
    for name, value in one["state_dict"].items():
        difference = (value.double() - two["state_dict"][name].double()).abs().max()
        assert difference <= tolerance, f"{name}: {difference}"
        moved = max(moved, float(value.double().abs().max()))
    assert moved > 0
    a, b = results(tmp_path / "one"), results(tmp_path / "two")
    for key in ("f1_micro", "f1_macro", "map", "epg", "iou", "iou_at_0.5"):
        for split in ("val", "test"):
            assert a[f"{split}/{key}"] == pytest.approx(b[f"{split}/{key}"], abs=1e-4), key
    front = json.loads((tmp_path / "two" / "pareto" / "front.json").read_text())["front"]
    assert [point["checkpoint"] for point in front] == ["epoch=000.ckpt"]
    assert not list(tmp_path.glob("*.log")), "the second process wrote outside the run's folder"


def test_batch_smaller_than_the_number_of_processes_is_refused(tmp_path: Path) -> None:
    result = run_command(
        "train.py",
        *STEPS,
        *TWO,
        "data.batch_size=1",
        f"hydra.run.dir={tmp_path / 'r'}",
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    assert "data.batch_size" in result.stderr


def test_a_sweep_of_several_processes_is_refused(tmp_path: Path) -> None:
    result = run_command("train.py", "-m", "trainer=ddp_cpu", "seed=0,1", cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert "a sweep cannot start several processes per job" in result.stderr
