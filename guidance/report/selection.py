"""Which checkpoint to deploy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from guidance.printable import printable
from guidance.report.checkpoints import Checkpoints, add_test_metrics
from guidance.report.comparison import Choice, choose
from guidance.report.report import check_f1_drop, read_study
from guidance.report.run import OBJECTIVES
from guidance.results import METRIC_NAMES


@dataclass(frozen=True)
class Selection:
    """The checkpoint to deploy, of configurations that can be compared.

    Attributes:
        names: Of the configurations.
        chosen: The checkpoint; None if none keeps F1.
        problem: Why there is none, or why it has no test metrics; "" if all is well.
    """

    names: list[str]
    chosen: Choice | None
    problem: str = ""


def select(
    folders: Sequence[str | Path],
    max_f1_drop: float = 0.01,
    group_by: Sequence[str] = (),
    data_root: Path | None = None,
    trusted: Sequence[str] = (),
) -> list[Selection]:
    """Choose the checkpoint with the highest EPG on val whose F1 on val keeps up with its baseline's.

    Args:
        folders: Runs, sweeps, or folders of them.
        max_f1_drop: How much lower its F1 may be, as a fraction.
        group_by: See :func:`~guidance.report.configuration.configuration_key`.
        data_root: Where the data set is now, should a checkpoint have to be evaluated on test.
        trusted: Packages of one's own that it may name then.

    Returns:
        One selection for each data set and attributor: EPG is only comparable within them.

    Raises:
        InputError: If there is no finished run, or the drop is no fraction.
    """
    check_f1_drop(max_f1_drop)
    study = read_study(folders, group_by)
    selections = []
    for configurations in study.measurements:
        compared = [one for one in configurations if not one.is_baseline]
        choices = [choice for one in compared for choice in choose(one, max_f1_drop)]
        if choices:
            best = max(choices, key=lambda choice: choice.point.metrics["val/epg"])
            points = [point for point in (best.point, best.baseline.point) if point is not None]
            problems = add_test_metrics(points, Checkpoints(data_root, trusted))
            selections.append(Selection([one.name for one in compared], best, " ".join(problems)))
            continue
        if not compared:
            problem = "all runs are unguided baselines"
        elif not any(choose(one) for one in compared):
            problem = "no run has a baseline to compare with"
        else:
            least = max(
                (choice for one in compared for choice in choose(one, by="f1_micro")),
                key=lambda choice: choice.change("val", "f1_micro"),
            )
            change = 100 * least.change("val", "f1_micro")
            problem = (
                f"no checkpoint keeps F1 on val within {100 * max_f1_drop:g} points of its baseline; the "
                f"closest, epoch {least.point.epoch} of {least.point.run.name}, changes it by {change:+.1f}"
            )
        selections.append(Selection([one.name for one in compared or configurations], None, problem))
    return selections


def print_selection(console: Console, selections: Sequence[Selection], max_f1_drop: float) -> None:
    """Print each selection: its metrics beside the baseline's, its file, and how to evaluate it."""
    for selection in selections:
        _say(console, f"among {', '.join(selection.names)}:" if len(selections) > 1 else "")
        if selection.chosen is None:
            _say(console, f"none qualifies: {selection.problem}")
            continue
        point, baseline = selection.chosen.point, selection.chosen.baseline
        _say(console, f"highest EPG on val, F1 at most {100 * max_f1_drop:g} points below the baseline's:")
        table = Table()
        for column in ("percent", "baseline", "chosen", "change"):
            table.add_column(column, justify="left" if column == "percent" else "right")
        for split in ("val", "test"):
            for name in OBJECTIVES:
                values = [100 * one.metrics.get(f"{split}/{name}", math.nan) for one in (baseline, point)]
                cells = [f"{values[0]:.1f}", f"{values[1]:.1f}", f"{values[1] - values[0]:+.1f}"]
                table.add_row(f"{split} {METRIC_NAMES[name]}", *cells)
        console.print(table)
        weight = f", weight {point.run.weight:g}" if point.run.guided else ""
        _say(console, f"run: {point.run.name}, seed {point.run.seed}{weight}, epoch {point.epoch}")
        _say(console, f"baseline: {baseline.name}")
        _say(console, f"checkpoint: {point.path}")
        _say(console, f"link: {point.path.resolve().as_uri()}")
        _say(console, selection.problem)


def _say(console: Console, text: str) -> None:
    if text:
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
