"""Maps of checkpoints as panels."""

import io
from pathlib import Path

import pytest
from PIL import Image

from guidance.report.checkpoints import Checkpoints
from guidance.report.gallery import draw_maps, drawn
from guidance.report.run_folder import find_runs
from guidance.report.study import make_study
from tests.report.run_folders import write_study


def test_survivors_and_baselines_are_drawn(trained: Path) -> None:
    study = make_study(*find_runs([trained]))
    gallery = draw_maps(study, Checkpoints(), images=2, most=1, seed=0)
    assert gallery.problems == []
    unguided, guided = study.configurations
    baseline = guided.baselines[0]
    assert baseline is not None
    assert baseline.point is not None
    points = {*drawn(unguided.front, 1, 0), *drawn(guided.front, 1, 0), baseline.point}
    assert set(gallery.rows) == points
    own = next(point for point in gallery.rows if point.run.guided)
    assert gallery.headings[own] == ["Images", "Baseline", "This checkpoint"]
    assert gallery.headings[baseline.point] == ["Images", "This checkpoint"]
    images, before, after = gallery.rows[own]
    assert [len(row) for row in (images, before, after)] == [2, 2, 2]
    assert images == gallery.rows[baseline.point][0], "the same images"
    assert before == gallery.rows[baseline.point][1], "the baseline's maps are its own"
    assert before != after
    for picture in after:
        assert Image.open(io.BytesIO(picture.content)).size == picture.size == (32, 32)
        assert picture.caption.startswith("EPG ")
        assert picture.boxes


def test_no_images_no_work(trained: Path) -> None:
    class Unused(Checkpoints):
        def explain(self, path: Path, count: int, seed: int) -> list[object]:  # type: ignore[override]
            raise AssertionError("explained")

    assert draw_maps(make_study(*find_runs([trained])), Unused(), 0, 9, 0).rows == {}


def test_checkpoints_that_are_gone_are_said_once(tmp_path: Path) -> None:
    study = make_study(*find_runs([write_study(tmp_path)]))
    gallery = draw_maps(study, Checkpoints(), images=1, most=9, seed=0)
    assert gallery.rows == {}
    assert gallery.problems
    assert len(set(gallery.problems)) == len(gallery.problems)
    assert all("no file" in problem for problem in gallery.problems)


@pytest.mark.parametrize("most", [0, 1, 3, 9])
def test_the_seed_draws(tmp_path: Path, most: int) -> None:
    points = [point for run in find_runs([write_study(tmp_path)])[0] for point in run.points]
    found = drawn(points[:5], most, seed=1)
    assert len(found) == min(most, 5)
    assert found == [point for point in points if point in found], "in their order"
    assert found == drawn(points[:5], most, seed=1)
