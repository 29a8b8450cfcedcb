"""The numbers of a report as files: every epoch, means over seeds, and everything as JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guidance.report.comparison import Verdict, volume_change
from guidance.report.configuration import differences
from guidance.report.run import OBJECTIVES, Point, Run
from guidance.report.study import REFERENCE, Configuration, Study, mean_and_spread, volume
from guidance.results import METRIC_NAMES


@dataclass(frozen=True)
class Summary:
    """The final weights of runs that differ in nothing but their seed.

    Attributes:
        configuration: Theirs.
        weight: Their loss weight.
        runs: One or more of each seed.
        metrics: Mean and standard deviation (None of one run) of what all report, e.g. of ``test/epg``.
    """

    configuration: Configuration
    weight: float
    runs: list[Run]
    metrics: dict[str, tuple[float, float | None]]


def summarize(study: Study) -> list[Summary]:
    """Return the metrics of the final weights, over the seeds of each configuration and loss weight."""
    summaries = []
    for configuration in study.configurations:
        for weight in configuration.weights:
            runs = [run for run in configuration.runs if run.weight == weight]
            keys = [f"{split}/{name}" for split in ("val", "test") for name in METRIC_NAMES]
            metrics = {
                key: mean_and_spread([run.results[key] for run in runs])
                for key in keys
                if all(key in run.results for run in runs)
            }
            summaries.append(Summary(configuration, weight, runs, metrics))
    return summaries


def points_csv(study: Study) -> str:
    """Return one line for each epoch of each run: whether it is on a front, and its metrics."""
    names = [f"{split}/{name}" for split in ("val", "test") for name in OBJECTIVES]
    rows = [
        [
            configuration.name,
            point.run.name,
            point.run.seed,
            point.run.weight,
            point.epoch,
            int(bool(point.checkpoint)),
            int(point in configuration.front),
            *(point.metrics.get(name, "") for name in names),
            str(point.path) if point.checkpoint else "",
        ]
        for configuration in study.configurations
        for point in configuration.points
    ]
    head = [
        "configuration",
        "run",
        "seed",
        "weight",
        "epoch",
        "on_run_front",
        "on_front",
        *names,
        "checkpoint",
    ]
    return _csv(head, rows)


def summary_csv(summaries: Sequence[Summary]) -> str:
    """Return one line for each configuration and weight: mean and standard deviation over seeds."""
    keys = list(dict.fromkeys(key for summary in summaries for key in summary.metrics))
    head = ["configuration", "weight", "runs", *(f"{key} {what}" for key in keys for what in ("mean", "sd"))]
    rows = []
    for summary in summaries:
        pairs = [summary.metrics.get(key, (None, None)) for key in keys]
        values = ["" if value is None else value for pair in pairs for value in pair]
        rows.append([summary.configuration.name, summary.weight, len(summary.runs), *values])
    return _csv(head, rows)


def as_json(study: Study, verdicts: Sequence[Verdict], max_f1_drop: float) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    said = {verdict.configuration: verdict for verdict in verdicts}
    return {
        "objectives": [f"val/{name}" for name in OBJECTIVES],
        "reference_point": list(REFERENCE),
        "max_f1_drop": max_f1_drop,
        "configurations": [_configuration_json(one, said.get(one)) for one in study.configurations],
        "differences": differences(study.runs),
        "runs": [{"name": run.name, "folder": str(run.folder), "command": run.command} for run in study.runs],
        "unfinished": [{"folder": str(run.folder), "missing": run.reason} for run in study.unfinished],
    }


def volume_per_seed(configuration: Configuration) -> tuple[float, float | None]:
    """Return mean and standard deviation over seeds of the hypervolume of each seed's own front."""
    return mean_and_spread(
        [
            volume([point.values() for point in configuration.points if point.run.seed == seed])
            for seed in configuration.seeds
        ]
    )


def _configuration_json(configuration: Configuration, verdict: Verdict | None) -> dict[str, Any]:
    own, change = volume_change(configuration)
    content: dict[str, Any] = {
        "name": configuration.name,
        "baseline": configuration.is_baseline,
        "runs": [run.name for run in configuration.runs],
        "seeds": configuration.seeds,
        "weights": configuration.weights,
        "hypervolume": own,
        "hypervolume_change": change,
        "front": [_point_json(point) for point in configuration.front],
    }
    if verdict is not None:
        content["verdict"] = verdict.text
        content["chosen"] = [_point_json(choice.point) for choice in verdict.kept]
        content["highest_epg"] = [_point_json(choice.point) for choice in verdict.highest]
    return content


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "run": point.run.name,
        "seed": point.run.seed,
        "weight": point.run.weight,
        "epoch": point.epoch,
        "checkpoint": str(point.path),
        "metrics": point.metrics,
    }


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
