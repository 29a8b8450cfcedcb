"""Deletion on data whose evidence is known."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.errors import InputError
from guidance.metrics.removal_curves import area_under
from guidance.protocols import Deletion
from guidance.protocols.removal import blurred
from guidance.protocols.score_file import ScoreFile
from tests.protocols.colours import SIDE, coloured_evaluation


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_perfect_map(tmp_path: Path) -> None:
    # 16 of 256 pixels have the colour: they are gone after one step, or the last to go.
    protocol = Deletion(attributors=["ixg"], images=6, steps=16, batch_size=4)
    results = protocol.run(coloured_evaluation(tmp_path))
    curves: dict[tuple[str, str], list[float]] = {}
    for row in rows(tmp_path / "curves.csv"):
        curves.setdefault((row["method"], row["curve"]), []).append(float(row["mean"]))
    assert {len(curve) for curve in curves.values()} == {17}
    full, nothing = curves["ixg", "most_first"][0], curves["ixg", "most_first"][-1]
    assert full > 0.99
    assert nothing < 0.01
    assert curves["ixg", "most_first"] == pytest.approx([full] + [nothing] * 16, abs=1e-6)
    assert curves["ixg", "least_first"] == pytest.approx([full] * 16 + [nothing], abs=1e-6)
    assert curves["ixg", "insertion"][-1] == pytest.approx(full)
    assert curves["random", "most_first"] == curves["random", "least_first"]
    of_map, control = results["scores"]
    assert (of_map["method"], control["method"]) == ("ixg", "random")
    assert of_map["most_first"] == pytest.approx(
        float(area_under(torch.tensor(curves["ixg", "most_first"]))), abs=1e-6
    )
    assert of_map["gap"] == pytest.approx(of_map["least_first"] - of_map["most_first"])
    assert of_map["gap"] > 0.9
    assert control["gap"] == 0
    assert 0.1 < control["most_first"] < 0.9
    areas = [float(row["gap"]) for row in rows(tmp_path / "scores.csv") if row["method"] == "ixg"]
    assert len(areas) == 6
    assert of_map["gap"] == pytest.approx(sum(areas) / 6)
    assert (tmp_path / "curves.png").is_file()


def test_insertion_shows_the_most_important_first(tmp_path: Path) -> None:
    """After 1 of 16 steps the patch is there and the rest is blurred, as if composed by hand."""
    protocol = Deletion(attributors=["ixg"], images=2, steps=16)
    evaluation = coloured_evaluation(tmp_path)
    protocol.run(evaluation)
    pairs = protocol.select(evaluation)
    classifier = evaluation.models[0].classifier
    dataset = evaluation.datamodule.split("test")
    images = torch.stack([dataset.image(i) for i in pairs.indices.tolist()]).float() / 255
    patch = images.any(dim=1, keepdim=True)
    assert patch.sum() == 2 * SIDE
    composed = torch.where(patch, images, blurred(classifier, images))
    expected = classifier(composed).sigmoid().gather(1, pairs.classes[:, None]).mean()
    (found,) = (
        float(row["mean"])
        for row in rows(tmp_path / "curves.csv")
        if (row["method"], row["curve"], float(row["fraction"])) == ("ixg", "insertion", 1 / 16)
    )
    assert found == pytest.approx(expected.item(), abs=1e-5)


class _KilledError(BaseException):
    pass


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def protocol() -> Deletion:
        return Deletion(attributors=["gradcam"], images=6, steps=4, batch_size=2, chunk=5)

    whole = protocol().run(coloured_evaluation(tmp_path / "whole"))
    append, done = ScoreFile.append, []

    def limited(self: ScoreFile, chunk: Any) -> None:
        done.append(chunk)
        if len(done) == 3:
            raise _KilledError
        append(self, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreFile, "append", limited)
        with pytest.raises(_KilledError):
            protocol().run(coloured_evaluation(tmp_path / "killed"))
    with monkeypatch.context() as patch:
        counted: list[Any] = []

        def counting(self: ScoreFile, chunk: Any) -> None:
            counted.append(chunk)
            append(self, chunk)

        patch.setattr(ScoreFile, "append", counting)
        assert protocol().run(coloured_evaluation(tmp_path / "killed"))["scores"] == whole["scores"]
    assert len(counted) == 4  # of the six chunks two were there


@pytest.mark.parametrize("option", ["images", "steps", "chunk", "batch_size"])
def test_wrong_options(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(InputError, match=f"protocol.{option} must be an integer, at least 1"):
        Deletion(attributors=["ixg"], **options)
