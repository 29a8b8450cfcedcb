"""What a checkpoint is asked: test metrics as the run measures them, maps as the gallery draws them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from guidance.errors import InputError
from guidance.report.checkpoints import Checkpoints, add_test_metrics
from guidance.report.run_folder import read_run
from guidance.runs.run import train
from tests.data.folder_tree import write_voc
from tests.report.conftest import forget_test_metrics
from tests.tiny import composed


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def test_missing_test_metrics_are_measured_once_and_kept(copied: Path) -> None:
    measured = forget_test_metrics(copied / "guided")
    run = read_run(copied / "guided")
    survivors = [point for point in run.points if point.checkpoint]
    assert not any("test/epg" in point.metrics for point in survivors)
    assert add_test_metrics(survivors, Checkpoints()) == []
    for point in survivors:
        for key, value in measured[point.checkpoint].items():
            assert point.metrics[key] == pytest.approx(value, abs=1e-9), key

    class Unused(Checkpoints):
        def test(self, path: Path) -> dict[str, float]:
            raise AssertionError("measured twice")

    again = [point for point in read_run(copied / "guided").points if point.checkpoint]
    assert add_test_metrics(again, Unused()) == []
    assert [point.metrics for point in again] == [point.metrics for point in survivors]


def test_what_cannot_be_measured_is_said(copied: Path) -> None:
    forget_test_metrics(copied / "guided")
    points = [point for point in read_run(copied / "guided").points if point.checkpoint]
    points[0].path.write_bytes(b"half a checkpoi")
    problems = add_test_metrics(points[:1], Checkpoints())
    assert len(problems) == 1
    assert "has no test metrics: ckpt_path" in problems[0]
    assert "is not a readable checkpoint" in problems[0]
    points[0].path.unlink()
    assert "no file" in add_test_metrics(points[:1], Checkpoints())[0]


def test_maps_are_those_of_the_run_s_own_gallery(trained: Path) -> None:
    start = trained / "baseline" / "checkpoints" / "best.ckpt"
    explained = Checkpoints().explain(start, count=2, seed=0)
    drawn = load_file(trained / "guided" / "gallery" / "before.safetensors")
    assert len(explained) == 2
    for i, one in enumerate(explained):
        torch.testing.assert_close(one.attribution, drawn["maps"][i])
        assert one.probability == pytest.approx(float(drawn["probabilities"][i]), abs=1e-6)
        assert 0 <= one.energy <= 1
        assert one.boxes.shape[1] == 4
        assert len(one.boxes) > 0


def test_every_checkpoint_sees_the_same_images_which_the_seed_chooses(trained: Path) -> None:
    checkpoints = Checkpoints()
    paths = [trained / name / "checkpoints" / "last.ckpt" for name in ("baseline", "guided")]
    one, other = (checkpoints.explain(path, 3, seed=1) for path in paths)
    assert all(torch.equal(a.image, b.image) for a, b in zip(one, other, strict=True))
    assert [a.class_name for a in one] == [b.class_name for b in other]
    assert not all(torch.equal(a.attribution, b.attribution) for a, b in zip(one, other, strict=True))
    further = checkpoints.explain(paths[0], 3, seed=2)
    assert not all(torch.equal(a.image, b.image) for a, b in zip(one, further, strict=True))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*gone\.ckpt"):
        Checkpoints().explain(tmp_path / "gone.ckpt", 1, 0)


def test_test_metrics_are_used_even_where_they_cannot_be_kept(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_test_metrics(copied / "guided")
    before = (copied / "guided" / "pareto" / "front.json").read_text()

    def refuse(path: Path, data: object) -> None:
        raise PermissionError(f"read-only: {path}")

    monkeypatch.setattr("guidance.report.checkpoints.write_json", refuse)
    point = next(point for point in read_run(copied / "guided").points if point.checkpoint)
    assert add_test_metrics([point], Checkpoints()) == []
    assert "test/epg" in point.metrics
    assert json.loads(before) == json.loads((copied / "guided" / "pareto" / "front.json").read_text())


def test_a_data_set_that_was_moved_is_found_where_it_is_now(tmp_path: Path) -> None:
    write_voc(tmp_path / "before")
    overrides = ["data=folder", f"data.root={tmp_path / 'before'}", "data.image_size=32"]
    overrides += ["data.batch_size=4", "data.num_workers=0"]
    small = ["model=bcos_small", "model.width=8", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    train(composed(tmp_path / "run", *overrides, *small, "callbacks.gallery.num_images=0"))
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    there = Checkpoints().test(checkpoint)
    (tmp_path / "before").rename(tmp_path / "after")
    with pytest.raises(InputError, match="before"):
        Checkpoints().test(checkpoint)
    assert Checkpoints(tmp_path / "after").test(checkpoint) == there
