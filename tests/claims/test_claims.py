"""The claims against results made by hand."""

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from guidance.claims import CLAIMS, Claim, Run, Runs, judge
from guidance.claims.runs import read_runs
from guidance.claims.table import print_verdicts, write_verdicts
from guidance.command_line import CONFIG_DIR
from guidance.errors import InputError
from guidance.results import METRIC_NAMES

LOSSES = {"energy": "EnergyLoss", "l1": "L1Loss", "ppce": "PPCELoss", "rrr": "RRRLoss"}


def run(
    loss: str,
    metrics: dict[str, float],
    seed: int = 0,
    weight: float = 1.0,
    layer: str = "input",
    **data: Any,
) -> Run:
    localization = None if loss == "none" else {"_target_": f"guidance.losses.{LOSSES[loss]}"}
    config = OmegaConf.create(
        {
            "seed": seed,
            "loss": {"localization": localization, "weight": weight},
            "attributor": {"layer": layer},
            "data": {"annotated_fraction": 1.0, "box_dilation": 0.0, **data},
        }
    )
    return Run(Path(f"{loss}-{weight}"), config, metrics)


def scores(epg: float, iou: float = 0.2, before: float = 0.1) -> dict[str, float]:
    return {
        "val/epg": epg,
        "test/epg": epg,
        "val/iou": iou,
        "test/iou": iou,
        "before/test/epg": before,
        "before/test/iou": 0.05,
    }


def claim(text: str) -> Claim:
    (found,) = [one for one in CLAIMS if text in one.name]
    return found


def value(text: str, *runs: Run) -> float:
    return claim(text).measure(Runs(runs))


def test_best_loss_is_compared_with_the_best_other_one() -> None:
    runs = (
        run("energy", scores(0.6, 0.3)),
        run("l1", scores(0.4, 0.5)),
        run("ppce", scores(0.2)),
        run("rrr", scores(0.5)),
    )
    assert value("Energy has the best EPG", *runs) == pytest.approx(0.6 - 0.5)
    assert value("L1 has the best IoU", *runs) == pytest.approx(0.5 - 0.3)


def test_weight_is_chosen_on_val() -> None:
    seemingly = run("energy", scores(0.3) | {"test/epg": 0.9}, weight=2.0)
    others = [run(loss, scores(0.1)) for loss in ("l1", "ppce", "rrr")]
    assert value("Energy has the best EPG", run("energy", scores(0.6)), seemingly, *others) == pytest.approx(
        0.5
    )


def test_annotations_count_by_their_gain() -> None:
    runs = [
        run("energy", scores(epg), annotated_fraction=part)
        for part, epg in ((0.01, 0.2), (0.1, 0.55), (1, 0.6))
    ]
    assert value("10 % of the annotations", *runs) == pytest.approx(0.45 / 0.5)
    assert value("1 % of the annotations", *runs) == pytest.approx(0.1)


def test_dilation_compares_the_same_weight() -> None:
    runs = [
        run("energy", scores(0.6), weight=1.0),
        run("energy", scores(0.5), weight=2.0),
        run("energy", scores(0.57), weight=1.0, box_dilation=0.5),
        run("energy", scores(0.59), weight=2.0, box_dilation=0.5),
        run("l1", scores(0.3, 0.4)),
        run("l1", scores(0.3, 0.1), box_dilation=0.5),
    ]
    assert value("Energy is robust", *runs) == pytest.approx(0.47 / 0.5)
    assert value("L1 is not robust", *runs) == pytest.approx(0.05 / 0.35)
    assert judge(claim("L1 is not robust"), Runs(tuple(runs))).holds, "below the limit is where it should be"


def test_mid2_is_measured_at_the_input_and_by_the_time_of_a_step() -> None:
    at_input = run("energy", scores(0.6) | {"step_seconds/input": 0.3, "step_seconds/mid2": 0.2})
    at_mid2 = run("energy", scores(0.9) | {"input/test/epg": 0.54}, layer="mid2")
    assert value("similar EPG", at_input, at_mid2) == pytest.approx(0.44 / 0.5)
    assert value("is faster", at_input, at_mid2) == pytest.approx(1.5)
    with pytest.raises(InputError, match="input/test/epg"):
        value("similar EPG", at_input, run("energy", scores(0.9), layer="mid2"))


def test_a_part_of_no_gain_says_nothing() -> None:
    runs = [run("energy", scores(epg), annotated_fraction=part) for part, epg in ((0.1, 0.2), (1, 0.1))]
    verdict = judge(claim("10 % of the annotations"), Runs(tuple(runs)))
    assert math.isnan(verdict.mean)
    assert not verdict.holds


def test_worst_group_is_compared_with_training_as_long() -> None:
    def group(loss: str, accuracy: float, task: str) -> Run:
        return run(loss, {f"{s}/worst_group_accuracy": accuracy for s in ("val", "test")}, task=task)

    runs = [group("none", 0.4, "conventional"), group("energy", 0.5, "conventional")]
    runs += [group("none", 0.6, "reversed"), group("energy", 0.5, "reversed")]
    assert value("worst group", *runs) == pytest.approx(0.1)
    assert value("when the background is the label", *runs) == pytest.approx(-0.1)


def verdict(*values: float, above: bool = True) -> bool:
    one = Claim("c", "s", "t", lambda runs: next(iter(runs))["x"], limit=1.0, above=above)
    return judge(one, Runs(tuple(run("none", {"x": v}, seed=seed) for seed, v in enumerate(values)))).holds


def test_a_claim_holds_by_more_than_the_standard_error() -> None:
    assert verdict(1.1)
    assert not verdict(1.0)
    assert not verdict(0.9)
    assert verdict(0.9, above=False)
    # mean 1.2, standard deviation 0.3, standard error 0.173
    assert verdict(0.9, 1.2, 1.5)
    # mean 1.1, the same error
    assert not verdict(0.8, 1.1, 1.4)
    assert verdict(0.5, 0.8, 1.1, above=False)
    assert not verdict(math.nan)
    assert not verdict(2.0, math.nan, 2.0)


def test_every_claim_has_a_study_and_a_metric_that_is_reported() -> None:
    for one in CLAIMS:
        assert (CONFIG_DIR / "experiment" / "study" / f"{one.study}.yaml").is_file()
    assert {"epg", "iou", "worst_group_accuracy"} <= set(METRIC_NAMES)


def test_missing_run_is_named() -> None:
    with pytest.raises(InputError, match=r"no finished run with .*PPCELoss"):
        value("Energy has the best EPG", run("energy", scores(0.6)), run("l1", scores(0.6)))


def test_runs_are_read_from_their_folders(tmp_path: Path) -> None:
    for name, seed in (("000-a", 3), ("001-b", 1)):
        (tmp_path / name).mkdir()
        OmegaConf.save({"seed": seed, "loss": {"localization": None}}, tmp_path / name / "config.yaml")
        (tmp_path / name / "results.json").write_text('{"test/epg": 0.5, "test/iou": null}')
    (tmp_path / "002-unfinished").mkdir()
    (tmp_path / "000-a" / "at_input").mkdir()
    (tmp_path / "000-a" / "at_input" / "results.json").write_text(json.dumps({"test/epg": 0.25}))
    runs = read_runs(tmp_path)
    assert runs.seeds() == [1, 3]
    (one,) = runs.where(seed=3, loss="none")
    assert (one["test/epg"], one["input/test/epg"]) == (0.5, 0.25)
    assert math.isnan(one["test/iou"])


def test_page_and_table_say_what_holds_and_what_does_not(tmp_path: Path) -> None:
    runs = tuple(
        run(loss, scores(epg), seed=s) for s in (0, 1) for loss, epg in (("energy", 0.6), ("l1", 0.5))
    )
    runs += tuple(run(loss, scores(0.1), seed=s) for s in (0, 1) for loss in ("ppce", "rrr"))
    verdicts = [judge(claim(text), Runs(runs)) for text in ("Energy has", "L1 has")]
    write_verdicts(tmp_path / "claims.md", verdicts, "python -m guidance.claims", datetime.date(2026, 1, 2))
    page = (tmp_path / "claims.md").read_text()
    assert "on 2026-01-02" in page
    assert "torch 2." in page
    assert "1 of 2 claims hold" in page
    assert "| 10.0 ± 0.0 | > 0.0 | - | yes |" in page
    assert "| 0.0 ± 0.0 | > 0.0 | - | **no** |" in page
    assert "results.md#the-papers-claims-on-shapes-why-some-fail" in page
    console = Console(record=True, width=150, file=(tmp_path / "out").open("w"))
    print_verdicts(verdicts, console)
    assert "NO" in console.export_text()
