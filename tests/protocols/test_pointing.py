"""Pointing on data whose evidence is known."""

import csv
from pathlib import Path

import pytest
import torch

from guidance.errors import InputError
from guidance.protocols import Pointing
from guidance.protocols.pointing import _class_mean, _summary
from tests.protocols.boxed import boxed_evaluation
from tests.protocols.colours import coloured_evaluation


def test_perfect_maps(tmp_path: Path) -> None:
    evaluation = boxed_evaluation(tmp_path)
    results = Pointing(attributors=["ixg"], layers=["input"], tolerance=0, batch_size=5).run(evaluation)
    found = {(row["metric"], row["size"]): row for row in results["scores"]}
    assert {size for _, size in found} == {"all", "large"}  # 16 of 256 pixels
    game, epg, on_object = (found[metric, "all"] for metric in ("pointing_game", "epg", "on_object_epg"))
    assert game["pairs"] == epg["pairs"] == on_object["pairs"] == 19
    assert game["chance"] == epg["chance"] == pytest.approx(16 / 256)
    assert on_object["chance"] == pytest.approx(0.5)
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 19
    for row in rows[:15]:  # of one class each; of two patches the second may cover the first
        assert float(row["pointing_game"]) == 1
        assert float(row["epg"]) == pytest.approx(1)
        assert float(row["on_object_epg"]) == pytest.approx(0.5)
    assert sum(float(row["pointing_game"]) for row in rows) / 19 == pytest.approx(game["mean"])
    assert sum(float(row["epg"]) for row in rows) / 19 == pytest.approx(epg["mean"])
    assert (tmp_path / "pointing.png").is_file()


def test_means_over_classes_and_numbers_that_are_missing() -> None:
    values = torch.tensor([1.0, 0.0, 1.0, torch.nan, 0.5], dtype=torch.float64)
    classes = torch.tensor([0, 0, 3, 3, 4])
    assert _class_mean(values, classes) == pytest.approx((0.5 + 1 + 0.5) / 3)
    row = _summary(values, torch.full((5,), 0.25))
    assert row["pairs"] == 4
    assert row["mean"] == pytest.approx(2.5 / 4)
    assert row["standard_error"] == pytest.approx(values[[0, 1, 2, 4]].std().item() / 2)
    assert _summary(values[3:4], values[3:4])["pairs"] == 0


def test_the_tolerance_grows_with_the_image(tmp_path: Path) -> None:
    results = Pointing(attributors=["ixg"], layers=["input"]).run(boxed_evaluation(tmp_path))
    assert results["tolerance"] == pytest.approx(15 * 16 / 224)
    with pytest.raises(InputError, match=r"protocol.tolerance must be a number of pixels"):
        Pointing(attributors=["ixg"], tolerance=-1)


def test_models_with_classes_of_their_own_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a checkpoint"):
        Pointing(attributors=["ixg"]).run(coloured_evaluation(tmp_path, own_head=True))
