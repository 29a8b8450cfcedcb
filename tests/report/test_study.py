"""Merged fronts and baselines."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidance.report.run import Point, Run
from guidance.report.run_folder import find_runs
from guidance.report.study import find_baseline, make_study, mean_and_spread, merged_front, volume
from tests.report.run_folders import write_run, write_study

values = st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])] * 3)


def made_up_run(epochs: list[tuple[float, float, float]]) -> Run:
    """A run that keeps the checkpoints of its own front, as training does: of equal ones, the first."""
    run = Run(Path("x"), {"seed": 0}, {}, "", "", "/x", "")
    for epoch, point in enumerate(epochs):
        matched = any(_at_least(other, point) for other in epochs[:epoch])
        beaten = any(_at_least(other, point) and other != point for other in epochs)
        named = "" if matched or beaten else f"epoch={epoch:03d}.ckpt"
        metrics = dict(zip(("val/f1_micro", "val/epg", "val/iou"), point, strict=True))
        run.points.append(Point(run, epoch, epoch + 1, metrics, named))
    return run


def _at_least(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(values, min_size=1, max_size=6), min_size=1, max_size=4))
def test_survivors_of_the_merged_front_survived_in_their_runs(
    epochs: list[list[tuple[float, float, float]]],
) -> None:
    runs = [made_up_run(one) for one in epochs]
    everything = [point for one in epochs for point in one]
    expected = {p for p in everything if not any(_at_least(q, p) and q != p for q in everything)}
    front = merged_front(runs)
    assert {tuple(point.values()) for point in front} == expected, "the front of all epochs of all runs"
    assert all(point.checkpoint for point in front), "and each of its points has a checkpoint"


def test_a_study_of_two_seeds_and_two_weights(tmp_path: Path) -> None:
    study = make_study(*find_runs([write_study(tmp_path)]))
    unguided, energy = study.configurations
    assert (unguided.name, unguided.is_baseline, unguided.seeds) == ("unguided", True, [0, 1])
    assert (energy.name, energy.seeds, energy.weights) == ("Energy", [0, 1], [0.1, 1.0])
    assert len(energy.points) == 12
    # Of equal weight, seed 1 beats seed 0 in both epochs; weight 1 beats weight 0.1.
    assert [(p.run.name, p.epoch) for p in energy.front] == [("energy/1-1", 0), ("energy/1-1", 1)]
    assert [b.metrics["val/f1_micro"] for b in energy.baselines if b] == [0.8, 0.81, 0.8, 0.81]
    assert [b.point.run.name for b in energy.baselines if b and b.point] == ["baseline/0", "baseline/1"] * 2


def test_without_start_weights_the_unguided_run_of_the_seed_is_the_baseline(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"b{seed}", [(0.7 + seed / 10, 0.2, 0.1), (0.6, 0.3, 0.1)], seed=seed)
    write_run(tmp_path / "g", [(0.7, 0.5, 0.1)], seed=1, loss="x.L1Loss", weight=1.0, optimizer__lr=5.0)
    write_run(tmp_path / "h", [(0.7, 0.5, 0.1)], seed=2, loss="x.L1Loss", weight=1.0)
    runs, _ = find_runs([tmp_path])
    found = find_baseline(runs[2], runs)
    assert found is not None
    assert found.point is runs[1].points[0], "the epoch with the best F1"
    assert find_baseline(runs[3], runs) is None, "no run of this seed"


def test_other_measurements_are_no_baseline(tmp_path: Path) -> None:
    write_run(tmp_path / "b", [(0.7, 0.2, 0.1)])
    write_run(tmp_path / "g", [(0.7, 0.5, 0.1)], loss="x.L1Loss", weight=1.0, attributor__layer="final")
    runs, _ = find_runs([tmp_path])
    assert find_baseline(runs[1], runs) is None
    assert [len(group) for group in make_study(runs).measurements] == [1, 1]


def test_start_weights_from_elsewhere_are_a_baseline(tmp_path: Path) -> None:
    start = ((0.5, 0.2, 0.1), (0.4, 0.2, 0.1))
    write_run(
        tmp_path / "g", [(0.7, 0.5, 0.1)], loss="x.L1Loss", weight=1.0, before=start, model__checkpoint="/a"
    )
    runs, _ = find_runs([tmp_path])
    found = find_baseline(runs[0], runs)
    assert found is not None
    assert (found.point, found.start) == (None, "/a")
    assert found.metrics["test/f1_micro"] == 0.4
    assert found.values() == [[0.5, 0.2, 0.1]]


def test_volume_and_spread() -> None:
    assert volume([[0.5, 0.5, 0.5], [1.0, 0.25, 0.25]]) == pytest.approx(0.125 + 0.5 * 0.0625)
    assert volume([]) == 0
    mean, spread = mean_and_spread([1.0, 3.0])
    assert mean == 2
    assert spread == pytest.approx(2**0.5)
    assert mean_and_spread([1.0]) == (1.0, None)
