"""One seed, one result: run twice, whatever reads the images, in whatever number of threads.

The other pairs are tested with whole runs too: resumed or not in ``tests/runs/test_resume.py``, one process
or two in ``tests/runs/test_distributed.py``.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.runs.run import train
from guidance.training import guided_step
from tests.tiny import composed, results

# Small, but with everything in it that is drawn at random.
RUN = [
    "data.length={train: 24, val: 8, test: 8}",
    "data.image_size=32",
    "data.batch_size=8",
    "data.annotated_fraction=0.5",
    "data.augmentation.flip=0.5",
    "data.augmentation.jitter=0.2",
    "model=bcos_small",
    "model.width=4",
    "loss=energy",
    "loss.weight=0.5",
    "optimizer.lr=1e-3",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.gallery.num_images=0",
    "test_front=false",
]
FLOAT64 = "trainer.precision=64-true"
TOLERANCE = 1e-9  # Adam turns the rounding of a gradient near 0 into a step: larger in float32


def trained(folder: Path, *options: str) -> Path:
    train(composed(folder, *RUN, *options))
    return folder


def last_checkpoint(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same(one: Path, other: Path) -> None:
    """Weights, optimizer, every logged number, the front and the results are equal, bit for bit."""
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert a["global_step"] == b["global_step"] == 6
    for name, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][name]), name
    states = [content["optimizer_states"][0]["state"] for content in (a, b)]
    assert states[0].keys() == states[1].keys()
    for k, state in states[0].items():
        assert all(torch.equal(value, states[1][k][name]) for name, value in state.items())
    assert rows(one) == rows(other)
    assert results(one) == results(other)
    fronts = [json.loads((folder / "pareto" / "front.json").read_text()) for folder in (one, other)]
    assert fronts[0] == fronts[1]


def assert_close(one: Path, other: Path) -> None:
    """Weights and results are equal but for the order in which float64 numbers were added."""
    a, b = last_checkpoint(one)["state_dict"], last_checkpoint(other)["state_dict"]
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=TOLERANCE, atol=TOLERANCE, msg=name)
    found = [results(folder) for folder in (one, other)]
    for key, value in found[0].items():
        if isinstance(value, float):
            assert found[1][key] == pytest.approx(value, abs=1e-6), key


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that others are compared with: no workers, no cache."""
    return trained(tmp_path_factory.mktemp("same") / "once")


@pytest.fixture(scope="module")
def once_in_float64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("same") / "float64", FLOAT64)


def test_run_twice(once: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what the process drew before does not matter
    assert_same(once, trained(tmp_path / "twice"))


def test_another_seed_is_another_run(once: Path, tmp_path: Path) -> None:
    """What makes the other tests mean something."""
    other = last_checkpoint(trained(tmp_path / "other", "seed=1"))["state_dict"]
    weights = last_checkpoint(once)["state_dict"]
    assert any(not torch.equal(value, other[name]) for name, value in weights.items())


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_loader_workers(once: Path, tmp_path: Path, workers: int) -> None:
    assert_same(once, trained(tmp_path / "workers", f"data.num_workers={workers}"))


def test_cached(once: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    options = ("data.cache=true", f"data.cache_dir={cache}")
    assert_same(once, trained(tmp_path / "making_it", *options))
    assert len(list(cache.glob("*.npy"))) == 3
    assert_same(once, trained(tmp_path / "using_it", *options))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_two_threads(once_in_float64: Path, two_threads: None, tmp_path: Path) -> None:
    assert_close(once_in_float64, trained(tmp_path / "threads", FLOAT64))


def test_only_guided_images_explained_or_all(
    once_in_float64: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def all_rows(guided: torch.Tensor) -> slice:
        sizes.append((int(guided.sum()), len(guided)))
        return slice(None)

    monkeypatch.setattr(guided_step, "rows_to_explain", all_rows)
    other = trained(tmp_path / "all", FLOAT64)
    assert any(0 < guided < images for guided, images in sizes), (
        "some batch would have been explained in part"
    )
    assert_close(once_in_float64, other)
