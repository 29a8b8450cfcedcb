"""The three protocols on data whose evidence is known, and against a slow version."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models import Classifier
from guidance.models.fixed_size import FixedSizeNormalize
from guidance.protocols import DiFull, DiPart, Evaluation, GridPG, GridProtocol
from guidance.protocols.score_file import ScoreFile
from tests.attribution.small_networks import small_resnet
from tests.protocols.colours import SIDE, coloured_evaluation, seeing_classifier

BOTH = ["input", "final"]


def scores(folder: Path) -> dict[tuple[str, ...], float]:
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = ("model", "method", "layer", "setting", "grid", "cell")
    assert list(rows[0]) == [*keys, "score"]
    found = {tuple(row[key] for key in keys): float(row["score"]) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("protocol", [GridPG, DiFull, DiPart])
def test_a_network_that_sees_colours_is_explained_perfectly(
    protocol: type[GridProtocol], tmp_path: Path
) -> None:
    results = protocol(attributors=["ixg", "gradient"], layers=["input"], grids=5).run(
        coloured_evaluation(tmp_path)
    )
    of_ixg = {key: score for key, score in scores(tmp_path).items() if key[1] == "ixg"}
    assert len(of_ixg) == 20
    assert all(score == pytest.approx(1, abs=1e-6) for score in of_ixg.values())
    assert results["chance"] == 0.25
    (row,) = (row for row in results["scores"] if row["method"] == "ixg")
    assert (row["maps"], row["model"], row["layer"]) == (20, "model0", "input")
    assert row["mean"] == row["median"] == row["lower_quartile"] == pytest.approx(1, abs=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {
        "scores.csv", "boxplots.png", "manifest.json", "scores", "maps", "aggatt",
    }  # fmt: skip


def test_a_network_that_looks_elsewhere_scores_nothing(tmp_path: Path) -> None:
    """Evidence of the right class in the wrong cell: the head reads another colour's detector."""
    model = seeing_classifier(prefer=-1)
    with torch.no_grad():
        detectors: Any = model.network[0]  # type: ignore[index]
        before = detectors.weight.clone()
    protocol = GridPG(attributors=["ixg"], layers=["input"], grids=5)
    evaluation = coloured_evaluation(tmp_path, model)
    manifest, indices = protocol.choose(evaluation)
    with torch.no_grad():
        detectors.weight.copy_(before.roll(1, dims=0))
        detectors.bias.copy_(detectors.bias.roll(1))
    grids = torch.cat(list(protocol.load(evaluation, indices)))
    named = protocol.attributors[0].attributor
    maps = protocol.explain(model, named, grids, manifest.target_classes(), protocol.cells)["input"]
    for grid, of_grid in zip(manifest.target_classes(), maps, strict=True):
        for cell, attribution in enumerate(of_grid):
            own = attribution.unflatten(1, (2, SIDE)).unflatten(0, (2, SIDE))[cell // 2, :, cell % 2]
            assert not own.clamp(min=0).any(), (grid, cell)


def slow_scores(name: str, classifier: Classifier, grid: Tensor, labels: list[int]) -> list[float]:
    """Score Input x Gradient at the input, cell by cell, the plain way."""
    found = []
    for cell, label in enumerate(labels):
        rows, columns = (slice(SIDE * at, SIDE * at + SIDE) for at in divmod(cell, 2))
        whole = classifier.encoding(grid[None]).requires_grad_()
        network: Any = classifier.network
        if name == "GridPG":
            logits = network(whole)
        elif name == "DiFull":
            logits = network(whole[:, :, rows, columns])
        else:
            features = network[:4](whole)
            half = features.shape[-1] // 2
            r, c = (slice(half * at, half * at + half) for at in divmod(cell, 2))
            logits = network[4:](features[:, :, r, c])
        (gradient,) = torch.autograd.grad(logits[0, label], whole)
        positive = (whole.detach() * gradient).sum(dim=1)[0].clamp(min=0)
        found.append(float(positive[rows, columns].sum() / positive.sum()))
    return found


@pytest.mark.parametrize("protocol", [GridPG, DiFull, DiPart])
def test_scores_are_those_of_the_slow_version(protocol: type[GridProtocol], tmp_path: Path) -> None:
    classifier = small_resnet().float().requires_grad_(False)
    made = protocol(
        attributors=["ixg"], layers=["input"], grids=3, labels="predicted", min_confidence=0.0, batch_size=2
    )
    evaluation = coloured_evaluation(tmp_path, seeing_classifier())
    manifest, indices = GridPG(attributors=["ixg"], grids=3).choose(evaluation)
    labels = manifest.target_classes() % 3  # the network knows three classes
    grids = torch.cat(list(made.load(evaluation, indices)))
    model = made.model_for(classifier, ["input"], SIDE)
    maps = made.explain(model, made.attributors[0].attributor, grids, made.targets(labels, 3), [0, 1, 2, 3])
    for grid, of_grid, own in zip(grids, maps["input"], labels.tolist(), strict=True):
        positive = of_grid.clamp(min=0)
        quarters = positive.unflatten(2, (2, SIDE)).unflatten(1, (2, SIDE)).sum((2, 4)).flatten(1)
        found = (quarters / quarters.sum(1, keepdim=True)).diagonal()
        assert found.tolist() == pytest.approx(slow_scores(made.title, classifier, grid, own), abs=1e-5)


def test_pictures_are_the_images_of_the_manifest_in_their_cells(tmp_path: Path) -> None:
    protocol, evaluation = GridPG(attributors=["ixg"], grids=3, batch_size=2), coloured_evaluation(tmp_path)
    manifest, indices = protocol.choose(evaluation)
    pictures = torch.cat(list(protocol.load(evaluation, indices)))
    dataset = evaluation.datamodule.split("test")
    for picture, cells in zip(pictures, manifest.grids, strict=True):
        images = [dataset.image(int(cell.image.removeprefix("test-"))) for cell in cells]
        rows = [torch.cat(images[i : i + 2], dim=2) for i in (0, 2)]
        assert torch.equal(picture * 255, torch.cat(rows, dim=1).float())


@pytest.mark.parametrize("protocol", [GridPG, DiFull])
def test_the_batch_size_changes_nothing(protocol: type[GridProtocol], tmp_path: Path) -> None:
    found = []
    for size in (1, 3, 64):
        evaluation = coloured_evaluation(tmp_path / str(size))
        attributors: list[Any] = ["gradcam", {"integrated_gradients": {"steps": 4}}, {"rise": {"masks": 8}}]
        protocol(attributors=attributors, layers=BOTH, grids=4, batch_size=size).run(evaluation)
        found.append(scores(tmp_path / str(size)))
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-5)


def test_cells_and_costs(tmp_path: Path) -> None:
    entries: list[Any] = ["ixg", {"integrated_gradients": {"steps": 5}}, {"rise": {"masks": 6}}]
    results = DiFull(attributors=entries, layers=BOTH, grids=4, cells="corners", batch_size=3).run(
        coloured_evaluation(tmp_path)
    )
    assert Counter((key[1], key[2], key[5]) for key in scores(tmp_path)) == {
        (method, layer, cell): 4
        for method in ("ixg", "integrated_gradients", "rise")
        for layer in BOTH
        for cell in ("0", "3")
    }
    # Both layers come from one pass, unless each layer takes passes of its own.
    passes = {cost["method"]: cost["passes_per_map"] for cost in results["cost"]}
    assert passes == {"ixg": 1 / 2, "integrated_gradients": (1 + 2 * 5) / 2, "rise": (1 + 2 * 6) / 2}
    assert all(cost["seconds_per_map"] > 0 for cost in results["cost"])


class _KilledError(BaseException):
    pass


def killed_after(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    append, done = ScoreFile.append, list[Any]()

    def limited(self: ScoreFile, chunk: Any) -> None:
        if len(done) == chunks:
            raise _KilledError
        done.append(chunk)
        append(self, chunk)

    monkeypatch.setattr(ScoreFile, "append", limited)


def test_a_killed_evaluation_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def protocol(*attributors: str) -> GridPG:
        return GridPG(attributors=attributors, layers=BOTH, grids=6, batch_size=2)

    whole = protocol("ixg", "gradcam").run(coloured_evaluation(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        killed_after(patch, 4)
        with pytest.raises(_KilledError):
            protocol("ixg", "gradcam").run(coloured_evaluation(tmp_path / "killed"))
    assert not (tmp_path / "killed" / "scores.csv").exists()
    with monkeypatch.context() as patch:
        killed_after(patch, 2)  # no more than two of the six chunks are left
        results = protocol("ixg", "gradcam").run(coloured_evaluation(tmp_path / "killed"))
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")
    assert [row["mean"] for row in results["scores"]] == [row["mean"] for row in whole["scores"]]
    with monkeypatch.context() as patch:
        killed_after(patch, 3)  # another attribution is all that is left to do
        protocol("ixg", "layercam", "gradcam").run(coloured_evaluation(tmp_path / "killed"))
    with monkeypatch.context() as patch:
        killed_after(patch, 0)  # other options are other scores
        with pytest.raises(_KilledError):
            GridPG(attributors=["ixg"], layers=["input"], grids=6).run(
                coloured_evaluation(tmp_path / "killed")
            )


def test_what_does_not_fit_a_model_is_left_out_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = coloured_evaluation(tmp_path, seeing_classifier(), seeing_classifier(300))
    GridPG(attributors=["bcos", "ixg"], layers=["input"], grids=3).run(evaluation)
    assert {key[:2] for key in scores(tmp_path)} == {("model0", "ixg"), ("model1", "ixg")}
    assert "left out, bcos of model1: attributor=bcos explains B-cos networks" in caplog.text
    # Nothing is classified for what cannot be explained.
    monkeypatch.delattr("guidance.protocols.grid_protocol.GridProtocol.choose")
    with pytest.raises(InputError, match=r"no attribution .* fits; bcos of model0: attributor=bcos explains"):
        GridPG(attributors=["bcos"], layers=["input"], grids=3).run(evaluation)
    with pytest.raises(InputError, match="unknown layer 'mid2'"):
        DiFull(attributors=["ixg"], layers=["mid2"], grids=3).run(evaluation)


def test_only_images_that_all_models_know_and_of_one_class_are_used(tmp_path: Path) -> None:
    evaluation = coloured_evaluation(tmp_path, seeing_classifier(), seeing_classifier(prefer=2))
    with pytest.raises(InputError, match=r"enough for 0. .*: blue 6; none of 4 other classes"):
        GridPG(attributors=["ixg"], grids=1).run(evaluation)
    evaluation = coloured_evaluation(tmp_path, counts=(1, 2, 0, 1, 2), pairs=9)
    with pytest.raises(InputError, match=r"enough for 1. .*: cyan 2, green 2, red 1, white 1; none of 1"):
        GridPG(attributors=["ixg"], grids=2).run(evaluation)


def test_a_manifest_gives_the_same_grids_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"attributors": ["ixg", "gradcam"], "layers": BOTH}
    GridPG(**options, grids=4).run(coloured_evaluation(tmp_path / "a", seed=3))
    manifest = str(tmp_path / "a" / "manifest.json")
    # Neither the seed nor the number nor a model that would not have chosen them matters.
    blind = seeing_classifier(scale=390)
    again = coloured_evaluation(tmp_path / "b", seeing_classifier(), blind)
    GridPG(**options, manifest=manifest).run(again)
    first, second = scores(tmp_path / "a"), scores(tmp_path / "b")
    assert first == {key: score for key, score in second.items() if key[0] == "model0"}
    assert (tmp_path / "a" / "manifest.json").read_text() == (tmp_path / "b" / "manifest.json").read_text()


def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    GridPG(attributors=["ixg"], layers=BOTH, grids=2).run(coloured_evaluation(tmp_path))
    path = tmp_path / "manifest.json"

    def refused(message: str, evaluation: Evaluation | None = None, **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            GridPG(**{"attributors": ["ixg"], "layers": BOTH, "manifest": str(path)} | options).run(
                evaluation or coloured_evaluation(tmp_path / "other")
            )

    refused("have protocol.n=2; set it, not 3", n=3)
    refused("have protocol.labels=annotated; set it, not predicted", labels="predicted")
    refused("is another image here", coloured_evaluation(tmp_path / "other", counts=(9, 6, 6, 6, 6)))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"split": "val"}))
    refused("are of split=val; set it")
    path.write_text(json.dumps(content | {"classes": content["classes"][::-1]}))
    refused(r"has grids of 5 classes \(cyan, ")
    path.write_text(json.dumps(content | {"classes": [*content["classes"], "pink"]}))
    refused("has labels of 6 classes, the models answer for 5")


def test_a_model_s_own_head(tmp_path: Path) -> None:
    evaluation = coloured_evaluation(tmp_path, own_head=True)
    with pytest.raises(InputError, match=r"has its own head.*protocol.labels=predicted"):
        GridPG(attributors=["ixg"], layers=BOTH, grids=2).run(evaluation)
    GridPG(attributors=["ixg"], layers=BOTH, grids=2, labels="predicted").run(evaluation)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["classes"] == ["0", "1", "2", "3", "4"]
    assert content["labels"] == "predicted"
    assert content["selection"]["probability"] == "softmax"
    GridPG(attributors=["ixg"], layers=BOTH, grids=2).run(coloured_evaluation(tmp_path / "trained"))
    content = json.loads((tmp_path / "trained" / "manifest.json").read_text())
    assert content["selection"]["probability"] == "sigmoid"


def test_networks_of_one_size_are_shown_single_cells_only(tmp_path: Path) -> None:
    model = seeing_classifier()
    # Normalised by nothing: all that matters is the size.
    model.encoding = FixedSizeNormalize((SIDE, SIDE), mean=(0, 0, 0), std=(1, 1, 1))
    evaluation = coloured_evaluation(tmp_path, model)
    for protocol in (GridPG, DiPart):
        with pytest.raises(InputError, match=r"grids of 32 x 32 pixels, and this one was built for 16 x 16"):
            protocol(attributors=["ixg"], layers=BOTH, grids=2).run(evaluation)
    DiFull(attributors=["ixg"], layers=BOTH, grids=2).run(evaluation)
    assert len(scores(tmp_path)) == 16


def test_nothing_is_trained(tmp_path: Path) -> None:
    evaluation = coloured_evaluation(tmp_path)
    before = {name: value.clone() for name, value in evaluation.models[0].classifier.state_dict().items()}
    DiPart(attributors=["gradcam"], layers=BOTH, grids=2).run(evaluation)
    model: nn.Module = evaluation.models[0].classifier
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "protocol.n must be an integer, at least 2"),
        ({"grids": 0}, "protocol.grids"),
        ({"batch_size": 0}, "protocol.batch_size"),
        ({"cells": "corner"}, "Did you mean 'corners'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GridPG(attributors=["ixg"], **options)
