"""AggAtt of a grid protocol: from the maps kept on the disk to figures."""

from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.protocols import GridPG
from guidance.protocols import aggregates as module
from tests.protocols.colours import SIDE, coloured_evaluation

BOTH = ["input", "final"]


def rows_drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    drawn: list[Any] = []
    monkeypatch.setattr(module, "draw_aggregates", lambda path, rows, *_: drawn.append((path, rows)))
    return drawn


def test_a_bin_is_the_mean_of_its_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = rows_drawn(monkeypatch)
    evaluation = coloured_evaluation(tmp_path)
    protocol = GridPG(attributors=["ixg", "gradcam"], layers=BOTH, grids=6, batch_size=4, aggregate=8)
    protocol.run(evaluation)
    assert [path.name for path, _ in drawn] == ["model0_input.png", "model0_final.png"]
    assert [row.label for row in drawn[0][1]] == ["ixg", "gradcam"]
    row = drawn[0][1][0]
    assert row.counts == [1, 0, 2, 2, 0, 1]
    # The same maps once more, all in memory, cut down by hand.
    manifest, indices = protocol.choose(evaluation)
    grids = torch.cat(list(protocol.load(evaluation, indices)))
    model = evaluation.models[0].classifier
    maps = protocol.explain(model, protocol.attributors[0].attributor, grids, manifest.target_classes(), [0])
    positive = maps["input"][:, 0].clamp(min=0)
    small = positive.unflatten(2, (16, SIDE // 8)).unflatten(1, (16, SIDE // 8)).mean((2, 4))
    shares = positive[:, :SIDE, :SIDE].sum((1, 2)) / positive.sum((1, 2))
    energies = small[:, :8, :8].sum((1, 2))
    order = sorted(range(6), key=lambda i: (-round(float(shares[i]), 6), -float(energies[i])))
    assert torch.allclose(row.means[0], small[order[0]].double(), atol=1e-6)
    assert torch.allclose(row.means[2], small[order[1:3]].double().mean(0), atol=1e-6)
    assert row.means[1].isnan().all()


def test_maps_outlive_the_process_and_are_made_again_if_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = rows_drawn(monkeypatch)

    def run() -> torch.Tensor:
        GridPG(attributors=["gradcam"], layers=["final"], grids=5, aggregate=4).run(
            coloured_evaluation(tmp_path)
        )
        means: torch.Tensor = drawn[-1][1][0].means
        return means.nan_to_num()

    first = run()
    (kept,) = tmp_path.glob("maps/*/final.npy")
    written = kept.stat().st_mtime_ns
    assert torch.equal(run(), first)
    assert kept.stat().st_mtime_ns == written  # nothing was explained again
    kept.unlink()
    assert torch.equal(run(), first)


def test_none_are_kept_if_none_are_wanted(tmp_path: Path) -> None:
    GridPG(attributors=["ixg"], layers=["input"], grids=3, aggregate=0).run(coloured_evaluation(tmp_path))
    assert not (tmp_path / "maps").exists()
    assert not (tmp_path / "aggatt").exists()
