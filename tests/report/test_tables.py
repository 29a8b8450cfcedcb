"""The files beside the page."""

import csv
import io
import json
from pathlib import Path

import pytest

from guidance.report.comparison import judge
from guidance.report.run_folder import find_runs
from guidance.report.study import Study, make_study
from guidance.report.tables import as_json, points_csv, summarize, summary_csv, volume_per_seed
from tests.report.run_folders import write_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(*find_runs([write_study(tmp_path)]))


def test_every_epoch_has_a_line(study: Study) -> None:
    rows = list(csv.DictReader(io.StringIO(points_csv(study))))
    assert len(rows) == sum(len(run.points) for run in study.runs) == 16
    front = [(row["run"], row["epoch"]) for row in rows if row["on_front"] == "1" and row["weight"] != "0.0"]
    assert front == [("energy/1-1", "0"), ("energy/1-1", "1")]
    beaten = [row for row in rows if row["on_run_front"] == "0"]
    assert all(not row["checkpoint"] and not row["test/epg"] for row in beaten)
    assert float(rows[1]["val/f1_micro"]) == 0.8


def test_final_weights_are_averaged_over_seeds(study: Study) -> None:
    summaries = summarize(study)
    assert [(one.configuration.name, one.weight, len(one.runs)) for one in summaries] == [
        ("unguided", 0.0, 2),
        ("Energy", 0.1, 2),
        ("Energy", 1.0, 2),
    ]
    mean, spread = summaries[0].metrics["test/f1_micro"]
    assert mean == pytest.approx(0.805)
    assert spread == pytest.approx(0.01 / 2**0.5)
    rows = list(csv.DictReader(io.StringIO(summary_csv(summaries))))
    assert float(rows[0]["test/f1_micro mean"]) == pytest.approx(0.805)
    assert float(rows[2]["val/epg sd"]) == 0


def test_json_holds_the_same(study: Study) -> None:
    verdicts = [judge(study.configurations[1], 0.01)]
    content = json.loads(json.dumps(as_json(study, verdicts, 0.01)))
    unguided, energy = content["configurations"]
    assert content["reference_point"] == [0, 0, 0]
    assert unguided["baseline"]
    assert "verdict" not in unguided
    assert energy["verdict"] == verdicts[0].text
    assert [point["epoch"] for point in energy["front"]] == [0, 1]
    assert energy["hypervolume"] > unguided["hypervolume"]
    assert [run["command"] for run in content["runs"]] == [run.command for run in study.runs]
    assert content["differences"]["loss.weight"] == ["0", "0", "0.1", "0.1", "1", "1"]


def test_hypervolume_per_seed(study: Study) -> None:
    mean, spread = volume_per_seed(study.configurations[0])
    assert mean == pytest.approx((0.8 + 0.81) / 2 * 0.02)
    assert spread == pytest.approx(0.01 * 0.02 / 2**0.5)
