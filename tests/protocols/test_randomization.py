"""Randomisation: what notices it, what does not, and how alike maps are compared with."""

import copy
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from guidance.attribution import InputXGradient
from guidance.errors import InputError
from guidance.models import Classifier, bcos_small
from guidance.models.randomized import cascade_stages, randomise
from guidance.protocols import Randomization
from guidance.protocols.pair_protocol import collected
from guidance.protocols.unit import Unit
from tests.protocols.colours import coloured_evaluation

ANY: dict[str, Any] = {
    "labels": "predicted",
    "min_confidence": 0,
}  # a network that was not trained is sure of nothing


def network() -> Classifier:
    torch.manual_seed(1)
    return bcos_small(width=4, num_classes=5).eval().requires_grad_(False)


def test_the_similarities_of_every_stage(tmp_path: Path) -> None:
    protocol = Randomization(attributors=["ixg", "gradcam"], layers=["final"], images=6, batch_size=3, **ANY)
    evaluation = coloured_evaluation(tmp_path, network())
    before = {name: value.clone() for name, value in evaluation.models[0].classifier.state_dict().items()}
    results = protocol.run(evaluation)
    model = evaluation.models[0].classifier
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert results["stages"] == {"model0": ["trained", "head", "final", "mid3", "mid2", "mid1"]}
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 6  # attributions, similarities, stages
    assert all(float(row["mean"]) == 1 for row in rows if row["stage"] == "trained")
    assert all(-1 <= float(row["mean"]) <= 1 for row in rows)
    ends = [float(row["mean"]) for row in rows if row["stage"] == "mid1" and row["similarity"] == "ssim"]
    assert max(ends) < 0.999
    assert (tmp_path / "randomization.png").is_file()


def test_numbers_are_those_of_maps_made_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Unit] = []
    report = Randomization.report

    def keeping(self: Randomization, units: Sequence[Unit], *rest: Any) -> dict[str, Any]:
        kept.extend(units)
        return report(self, units, *rest)

    monkeypatch.setattr(Randomization, "report", keeping)
    evaluation = coloured_evaluation(tmp_path, network())
    protocol = Randomization(attributors=["ixg"], layers=["input"], images=3, cascade="layers", **ANY)
    protocol.run(evaluation)
    pairs = protocol.select(evaluation)
    dataset = evaluation.datamodule.split("test")
    images = torch.stack([dataset.image(i) for i in pairs.indices.tolist()]).float() / 255
    attributor = InputXGradient(layer="input")
    model = copy.deepcopy(evaluation.models[0].classifier)

    def maps() -> torch.Tensor:
        return attributor.attribute(attributor.forward(model, images), pairs.classes).flatten(1)

    first = maps()
    found = collected(kept[0])
    others = found["rank_correlation_of_others@input"][:, 0]
    for i in range(3):
        expected = spearmanr(first[i], first[(i + 1) % 3]).statistic
        assert others[i].item() == pytest.approx(expected, abs=1e-6)
    for number, stage in enumerate(cascade_stages(model, images, "layers")):
        randomise(model, stage.modules, 0)
        for i, own in enumerate(maps()):
            expected = spearmanr(first[i], own).statistic
            assert found["rank_correlation@input"][i, number].item() == pytest.approx(expected, abs=1e-6)


def test_maps_that_ignore_the_network_stay_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge detector passes for an explanation; randomisation gives it away (Adebayo et al., figure 1)."""
    monkeypatch.setattr(InputXGradient, "combine", lambda _, activation, gradient: activation.sum(1))
    results = Randomization(attributors=["ixg"], images=4).run(coloured_evaluation(tmp_path))
    assert all(row["end"] == pytest.approx(1) for row in results["scores"])
    assert all(row["of_others"] < 0.9 for row in results["scores"])


def test_a_single_image_has_no_other(tmp_path: Path) -> None:
    results = Randomization(attributors=["ixg"], images=1).run(coloured_evaluation(tmp_path))
    assert all(row["of_others"] != row["of_others"] for row in results["scores"])


def test_wrong_options() -> None:
    with pytest.raises(InputError, match="Did you mean 'layers'"):
        Randomization(attributors=["ixg"], cascade="layer")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"protocol.images"):
        Randomization(attributors=["ixg"], images=0)
