"""Which checkpoint to deploy."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from guidance.errors import InputError
from guidance.report.selection import print_selection, select
from tests.report.run_folders import write_run, write_study


def printed(folder: Path, max_f1_drop: float) -> str:
    text = io.StringIO()
    console = Console(file=text, width=100)
    print_selection(console, select([folder], max_f1_drop), max_f1_drop)
    return text.getvalue()


def test_the_highest_epg_that_keeps_f1(tmp_path: Path) -> None:
    (selection,) = select([write_study(tmp_path)], 0.01)
    assert selection.chosen is not None
    assert selection.chosen.point.path == tmp_path / "energy" / "1-1" / "pareto" / "epoch=000.ckpt"
    text = printed(tmp_path, 0.01)
    assert f"checkpoint: {tmp_path}/energy/1-1/pareto/epoch=000.ckpt" in text
    assert f"link: file://{tmp_path}/energy/1-1/pareto/epoch%3D000.ckpt" in text
    assert "+20.1" in text


def test_a_larger_drop_buys_more_epg(tmp_path: Path) -> None:
    (selection,) = select([write_study(tmp_path)], 0.25)
    assert selection.chosen is not None
    assert selection.chosen.point.epoch == 1


def test_when_none_qualifies_the_closest_is_named(tmp_path: Path) -> None:
    text = printed(write_study(tmp_path), 0.001)
    assert "none qualifies: no checkpoint keeps F1 on val within 0.1 points of its baseline" in text
    assert "changes it by -0.5" in text


def test_nothing_to_choose_from_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "baseline", [(0.8, 0.2, 0.1)])
    assert "none qualifies: all runs are unguided baselines" in printed(tmp_path, 0.01)
    write_run(tmp_path / "guided", [(0.8, 0.2, 0.1)], seed=5, loss="x.L1Loss", weight=1.0)
    assert "none qualifies: no run has a baseline to compare with" in printed(tmp_path, 0.01)


def test_other_measurements_are_not_compared(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    write_run(tmp_path / "b", [(0.9, 0.1, 0.1)], attributor__layer="final")
    write_run(tmp_path / "c", [(0.9, 0.9, 0.1)], loss="x.L1Loss", weight=1.0, attributor__layer="final")
    chosen = [one.chosen.point.run.name for one in select([tmp_path], 0.01) if one.chosen]
    assert chosen == ["a/energy/1-1", "c"]


@pytest.mark.parametrize("drop", [-0.1, 1.5, float("nan")])
def test_the_drop_is_a_fraction(tmp_path: Path, drop: float) -> None:
    with pytest.raises(InputError, match="--max-f1-drop is a fraction from 0 to 1"):
        select([tmp_path], drop)
