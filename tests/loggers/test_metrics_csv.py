"""metrics.csv: appended to, rewritten only for a new column, and continued after a resume."""

import csv
from pathlib import Path

from guidance.loggers.metrics_csv import MetricsCSV


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def filled(path: Path) -> MetricsCSV:
    logger = MetricsCSV(path)
    logger.rewind(0)
    for step in range(4):
        logger.log_metrics({"epoch": step // 2, "train/loss": 1 / (step + 1)}, step)
    logger.log_metrics({"epoch": 1, "val/epg": 0.5}, 3)
    return logger


def test_columns_may_come_late(tmp_path: Path) -> None:
    logger = filled(tmp_path / "m.csv")
    logger.log_metrics({"epoch": 2, "val/epg": 0.75, "train/loss": 0.1}, 4)
    found = rows(logger.path)
    assert [row["step"] for row in found] == ["0", "1", "2", "3", "3", "4"]
    assert [row["train/loss"] for row in found] == ["1", "0.5", "0.33333333", "0.25", "", "0.1"]
    assert [row["val/epg"] for row in found] == ["", "", "", "", "0.5", "0.75"]
    assert [row["epoch"] for row in found] == ["0", "0", "1", "1", "1", "2"]


def test_resume_drops_what_will_be_made_anew(tmp_path: Path) -> None:
    path = filled(tmp_path / "m.csv").path
    again = MetricsCSV(path)
    again.rewind(3)
    assert [row["step"] for row in rows(path)] == ["0", "1", "2"]
    again.log_metrics({"epoch": 1, "train/loss": 7.0}, 3)
    assert [row["train/loss"] for row in rows(path)][-1] == "7"
    assert "val/epg" in rows(path)[0], "a column that was known stays"


def test_new_run_starts_empty(tmp_path: Path) -> None:
    path = filled(tmp_path / "m.csv").path
    MetricsCSV(path).rewind(0)
    assert rows(path) == []


def test_line_that_a_kill_tore_is_dropped(tmp_path: Path) -> None:
    path = filled(tmp_path / "m.csv").path
    text = path.read_text()
    path.write_text(text + "1,1")
    MetricsCSV(path).rewind(12)
    assert path.read_text() == text, "half of 1,10,... looks like step 1"


def test_row_that_only_the_checkpoint_knows_is_added_once(tmp_path: Path) -> None:
    logger = filled(tmp_path / "m.csv")
    logger.rewind(3)
    logger.log_unlogged({"epoch": 1, "train/loss": 9.0}, 3)
    logger.log_unlogged({"epoch": 1, "train/loss": 9.0}, 3)
    assert [row["train/loss"] for row in rows(logger.path)] == ["1", "0.5", "0.33333333", "9"]
