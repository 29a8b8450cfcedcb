"""A training that a signal stops saves where it is, and goes on to the same end, bit for bit."""

import csv
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.callbacks import LastCheckpoint
from guidance.errors import StoppedError
from guidance.runs.building import build_module
from guidance.runs.run import train
from guidance.training.guided_step import GuidedStep
from guidance.training.module import GuidedClassifier
from tests.tiny import tiny_config

SHORT = (
    "data.length={train: 24, val: 20, test: 8}",
    "trainer.log_every_n_steps=1",
    "callbacks.gallery.num_images=0",
    "test_front=false",
)
"""Three steps an epoch, three batches of validation, two epochs."""


def last(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(tiny_config(folder, *SHORT))
    return folder


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """A process that was started in the background ignores Ctrl-C."""
    started = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, started)


def at_call(number: int, real: Callable[..., Any], *signals: int) -> Callable[..., Any]:
    """Return a function that first sends this process signals when it is called for the n-th time."""
    calls = [0]

    def call(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            for one in signals:
                os.kill(os.getpid(), one)
        return real(*given, **named)

    return call


@pytest.mark.parametrize(
    ("where", "number", "signals", "step"),
    [
        ("train", 2, [signal.SIGTERM], 2),
        ("val", 1, [signal.SIGUSR1], 3),
        ("val", 3, [signal.SIGINT], 3),
        ("save", 2, [signal.SIGTERM, signal.SIGTERM], 3),
    ],
    ids=["in a step", "in a validation", "in the last batch of a validation", "twice while saving"],
)
def test_stopped_run_is_saved_and_ends_the_same(
    where: str,
    number: int,
    signals: list[int],
    step: int,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        if where == "train":
            struck = at_call(number, GuidedStep._global_counts, *signals)
            patched.setattr(GuidedStep, "_global_counts", lambda *given: struck(*given))
        elif where == "val":
            struck = at_call(number, GuidedClassifier._score, *signals)
            patched.setattr(GuidedClassifier, "_score", lambda *given: struck(*given))
        else:
            patched.setattr(torch, "save", at_call(number, torch.save, *signals))
        with pytest.raises(StoppedError) as stopped:
            train(tiny_config(tmp_path, *SHORT))
    assert stopped.value.signal == signals[0]
    assert stopped.value.step == last(tmp_path)["global_step"] == step
    assert stopped.value.saved == tmp_path / "checkpoints" / "last.ckpt"
    assert not list(tmp_path.rglob("*.tmp"))

    train(tiny_config(tmp_path, *SHORT, "ckpt_path=last"))
    one, other = last(whole), last(tmp_path)
    assert one["global_step"] == other["global_step"] == 6
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    assert rows(tmp_path) == rows(whole)
    for name in ("results.json", "pareto/front.json"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    # A checkpoint that did not know the best one of its own epoch would let a worse one replace it.
    files = [folder / "checkpoints" / "best.ckpt" for folder in (whole, tmp_path)]
    best = [torch.load(file, weights_only=True) for file in files]
    assert best[0]["global_step"] == best[1]["global_step"]


def test_killed_right_after_a_step_is_saved_keeps_the_row_of_the_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loggers are told of a step after the callbacks, so that the row would be lost."""

    class _DiedError(BaseException):
        pass

    def die(*_: Any) -> None:
        raise _DiedError

    often = (*SHORT, "callbacks.last.every_n_steps=1")
    with monkeypatch.context() as patched:
        patched.setattr(LastCheckpoint, "_stop", die)
        with pytest.raises(_DiedError):
            train(tiny_config(tmp_path, *often))
    assert last(tmp_path)["global_step"] == 1
    assert rows(tmp_path) == [], "step 0 is in the checkpoint and not in the file"
    train(tiny_config(tmp_path, *often, "ckpt_path=last"))
    assert rows(tmp_path) == rows(whole)


def test_signal_before_the_first_step_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guidance.runs.run.build_module", at_call(1, build_module, signal.SIGTERM))
    with pytest.raises(StoppedError, match="stopped by SIGTERM: not in a training's steps"):
        train(tiny_config(tmp_path, *SHORT))
    assert not (tmp_path / "checkpoints").exists()
