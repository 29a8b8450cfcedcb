"""Training and evaluation hold as much at their end as near their beginning."""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pytest
import torch

from guidance.runs.building import build_data, build_module, build_trainer
from guidance.runs.run import evaluate_splits, train
from tests.reliability import footprint as measured
from tests.reliability.footprint import Footprint, footprint
from tests.tiny import OVERRIDES, composed, tiny_config

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Of a large network, 50 of them would be 20 GB.
WITHOUT_CHECKPOINTS = ["callbacks.last=null", "callbacks.best=null", "callbacks.pareto=null"]
WAYS = {
    "bcos at input": [],
    "bcos at input, some rows": ["data.annotated_fraction=0.3"],
    "bcos at mid2, two classes": ["attributor.layer=mid2", "loss=l1", "loss.classes=absent"],
    "gradcam": ["attributor=gradcam"],
    "lrp": ["model=torchvision", "model.name=resnet18", "attributor=lrp", *WITHOUT_CHECKPOINTS],
    "workers": ["data.num_workers=2"],
}
FOOTPRINTS = "+callbacks.footprints._target_=tests.reliability.test_leaks.Kept"


class Kept(measured.Footprints):
    """The measurements of the last run, for the test that started it."""

    last: "Kept"

    def __init__(self) -> None:
        super().__init__()
        Kept.last = self


def trained(folder: Path, epochs: int, *options: str) -> list[Footprint]:
    """Train a tiny run and return what it held after each epoch."""
    another_model = any(option.startswith("model=") for option in options)
    config = composed(
        folder,
        *(one for one in OVERRIDES if not (another_model and one.startswith("model"))),
        "data.length={train: 80, val: 8, test: 4}",
        f"trainer.max_epochs={epochs}",
        "callbacks.gallery.num_images=0",
        "test_front=false",
        "trainer.log_every_n_steps=1",  # what was logged last is kept until the next time
        FOOTPRINTS,
        *options,
    )
    train(config)
    assert len(Kept.last.found) == epochs
    return Kept.last.found


def grows(counts: Sequence[int]) -> bool:
    """Whether the second half of a series is above the first one, whose beginning does not count."""
    middle = len(counts) // 2
    return max(counts[middle:]) > max(counts[1:middle])


@pytest.mark.parametrize("way", ["bcos at input, some rows", pytest.param("gradcam", marks=pytest.mark.slow)])
def test_few_epochs_leave_nothing_behind(way: str, tmp_path: Path) -> None:
    found = trained(tmp_path / "run", 6, *WAYS[way], "data.length={train: 16, val: 4, test: 4}")
    assert not [name for name in found[0].counts if grows([one.counts[name] for one in found])], found


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_500_steps_and_50_evaluations_leave_nothing_behind(way: str, tmp_path: Path) -> None:
    found = trained(tmp_path / "run", 50, *WAYS[way])
    print(way, *found[1::12], sep="\n")
    assert not [name for name in found[0].counts if grows([one.counts[name] for one in found])], found
    memory = [one.megabytes for one in found]
    assert median(memory[40:]) - median(memory[10:20]) < 8, memory


@pytest.mark.slow
def test_evaluations_after_training_leave_nothing_behind(tmp_path: Path) -> None:
    """As those of the front's checkpoints, each of which starts its own loader processes."""
    config = tiny_config(tmp_path / "run", "data.num_workers=2", "callbacks.gallery.num_images=0")
    datamodule = build_data(config)
    module = build_module(config, datamodule)
    trainer = build_trainer(config, [], [])
    found = []
    for _ in range(10):
        evaluate_splits(trainer, module, datamodule, ("val", "test"))
        found.append(footprint(module))
    assert not [name for name in found[0].counts if grows([one.counts[name] for one in found])], found


def test_the_measure_sees_what_is_left_behind(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    before = footprint(model)
    tensor, goes_on = torch.zeros(1), threading.Event()
    threading.Thread(target=goes_on.wait, daemon=True).start()
    model.register_forward_hook(lambda *_: None)
    with (tmp_path / "file").open("w"):
        after = footprint(model)
    goes_on.set()
    assert len(tensor) == 1
    grown = [name for name in before.counts if after.counts[name] > before.counts[name]]
    assert grown == ["tensors", "files", "threads", "hooks"]
    assert grows([1, 5, 5, 5, 6, 5])
    assert not grows([1, 5, 5, 4, 5, 5])
