"""Choices per seed, changes with their spread, and what is said of them."""

import math
from pathlib import Path

import pytest

from guidance.report.comparison import Change, changes, choose, judge, volume_change
from guidance.report.run_folder import find_runs
from guidance.report.study import Configuration, make_study
from tests.report.run_folders import Values, write_run, write_study


def guided(folder: Path) -> Configuration:
    return next(one for one in make_study(*find_runs([folder])).configurations if not one.is_baseline)


def write_pairs(folder: Path, energies: list[float], f1_drop: float = 0.0) -> Path:
    """Write a guided run for each seed, of one epoch with this EPG; it starts at F1 0.8, EPG 0.2."""
    start: Values = (0.8, 0.2, 0.1)
    for seed, energy in enumerate(energies):
        write_run(
            folder / str(seed),
            [(0.8 - f1_drop, energy, 0.3)],
            [(0.7, energy + 0.1, 0.2)],
            seed=seed,
            loss="guidance.losses.EnergyLoss",
            weight=1.0,
            before=(start, start),
            model__checkpoint="/start.ckpt",
        )
    return folder


def test_each_seed_s_best_checkpoint_that_keeps_f1(tmp_path: Path) -> None:
    configuration = guided(write_study(tmp_path))
    kept = [(choice.point.run.name, choice.point.epoch) for choice in choose(configuration, 0.01)]
    assert kept == [("energy/1-0", 0), ("energy/1-1", 0)]
    highest = [(choice.point.run.name, choice.point.epoch) for choice in choose(configuration)]
    assert highest == [("energy/1-0", 1), ("energy/1-1", 1)]
    assert choose(configuration, 0.001) == []
    by_f1 = choose(configuration, by="f1_micro")
    assert [choice.change("val", "f1_micro") for choice in by_f1] == pytest.approx([-0.005, -0.005])


def test_the_bound_is_inclusive(tmp_path: Path) -> None:
    assert len(choose(guided(write_pairs(tmp_path, [0.5], f1_drop=0.01)), 0.01)) == 1


def test_changes_are_against_the_baseline_of_the_seed(tmp_path: Path) -> None:
    configuration = guided(write_pairs(tmp_path, [0.4, 0.6, 0.5]))
    found = changes(choose(configuration, 0.01), "test")
    assert found["epg"].mean == pytest.approx(0.4)
    assert found["epg"].spread == pytest.approx(0.1)
    assert found["f1_micro"].mean == pytest.approx(-0.1)
    assert changes([], "test") == {}


def test_a_clear_change_exceeds_two_standard_deviations() -> None:
    assert Change(0.3, 0.1, 3).is_clear is True
    assert Change(-0.3, 0.1, 3).is_clear is True
    assert Change(0.2, 0.1, 3).is_clear is False
    assert Change(0.0, 0.0, 3).is_clear is False
    assert Change(0.3, None, 1).is_clear is None
    assert str(Change(0.123, 0.011, 3)) == "+12.3 ± 1.1"
    assert str(Change(-0.05, None, 1)) == "−5.0"


def test_the_verdict_on_a_clear_gain(tmp_path: Path) -> None:
    verdict = judge(guided(write_pairs(tmp_path, [0.4, 0.42, 0.41])), 0.01)
    assert verdict.helped is True
    assert verdict.text == (
        "With at most 1 point of F1 on val given up: EPG +31.0 ± 1.0, IoU +10.0 ± 0.0, F1 −10.0 ± 0.0 points "
        "on test (mean ± sd over 3 seeds); the changes of EPG, IoU and F1 exceed twice the spread between "
        "seeds."
    )


def test_the_verdict_on_a_gain_within_the_spread(tmp_path: Path) -> None:
    verdict = judge(guided(write_pairs(tmp_path, [0.1, 0.5, 0.3])), 0.01)
    assert verdict.helped is None
    assert (
        "the changes of IoU and F1 exceed twice the spread between seeds, that of EPG does not"
        in verdict.text
    )


def test_the_verdict_on_a_loss(tmp_path: Path) -> None:
    assert judge(guided(write_pairs(tmp_path, [0.01, 0.02, 0.01])), 0.01).helped is False


def test_nothing_is_concluded_from_two_seeds(tmp_path: Path) -> None:
    verdict = judge(guided(write_pairs(tmp_path, [0.4, 0.41])), 0.01)
    assert verdict.helped is None
    assert "(mean ± sd over only 2 seeds)" in verdict.text


def test_one_seed_says_nothing_about_the_spread(tmp_path: Path) -> None:
    verdict = judge(guided(write_pairs(tmp_path, [0.5])), 0.01)
    assert verdict.helped is None
    assert "(one seed); how much seeds differ is not known" in verdict.text
    assert "±" not in verdict.text


def test_when_nothing_keeps_f1_the_price_is_told(tmp_path: Path) -> None:
    verdict = judge(guided(write_pairs(tmp_path, [0.5, 0.51], f1_drop=0.1)), 0.02)
    assert verdict.helped is False
    assert verdict.text.startswith("No checkpoint keeps within 2 points of F1 on val of its baseline.\n")
    assert "whatever it costs: EPG +40.5 ± 0.7" in verdict.text


def test_without_a_baseline_nothing_is_claimed(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [(0.8, 0.5, 0.1)], loss="x.L1Loss", weight=1.0)
    configuration = guided(tmp_path)
    verdict = judge(configuration, 0.01)
    assert verdict.helped is None
    assert verdict.text.startswith("There is nothing to compare with")
    assert volume_change(configuration)[1] is None


def test_where_test_is_not_known_val_is_told(tmp_path: Path) -> None:
    configuration = guided(write_pairs(tmp_path, [0.4, 0.42]))
    del configuration.points[0].metrics["test/epg"]
    assert (
        "points on val (mean ± sd over only 2 seeds, not all were evaluated on test)"
        in judge(configuration, 0.01).text
    )


def test_the_hypervolume_is_against_all_epochs_of_the_baselines(tmp_path: Path) -> None:
    configuration = guided(write_study(tmp_path))
    own, change = volume_change(configuration)
    first, second = (point.values() for point in configuration.front)
    assert own == pytest.approx(math.prod(first) + math.prod(second) - math.prod(map(min, first, second)))
    assert change == pytest.approx(own - 0.81 * 0.2 * 0.1)
