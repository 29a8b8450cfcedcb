"""A study: its configurations, their merged fronts, and what they are compared with."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from guidance.pareto import hypervolume, pareto_front
from guidance.report.configuration import (
    Key,
    check_group_by,
    configuration_key,
    configuration_names,
    is_baseline,
    measurement_key,
    source_of,
)
from guidance.report.run import OBJECTIVES, Metrics, Point, Run, UnfinishedRun

REFERENCE = (0.0, 0.0, 0.0)
"""The reference point of hypervolumes: no F1, no EPG, no IoU."""


@dataclass(eq=False)
class Baseline:
    """What one run is compared with.

    Attributes:
        name: Where it comes from.
        metrics: Of val and test.
        point: The unguided run's epoch; None if only the start weights' metrics are known.
        start: The checkpoint of the start weights, as the configuration names it; "" if they are not meant.
    """

    name: str
    metrics: Metrics
    point: Point | None = None
    start: str = ""

    @property
    def paths(self) -> list[Path]:
        """Where its checkpoint may be."""
        return ([self.point.path] if self.point else []) + ([Path(self.start)] if self.start else [])

    def values(self) -> list[list[float]]:
        """Return (F1, EPG, IoU) on val: of each epoch of its run, or of the start weights."""
        if self.point is not None:
            return [point.values() for point in self.point.run.points]
        return [[self.metrics.get(f"val/{name}", math.nan) for name in OBJECTIVES]]


@dataclass(eq=False)
class Configuration:
    """Runs that differ in nothing but loss weight, epochs and seed.

    Attributes:
        name: Says what sets it apart.
        runs: At least one.
        is_baseline: Whether it is unguided, and what others are compared with.
        measurement: Runs of other measurements are not comparable with its own.
        front: The epochs of its runs that no other epoch of its runs beats in F1, EPG and IoU on val.
        baselines: What each run is compared with, in the order of ``runs``; None if nothing fits.
    """

    name: str
    runs: list[Run]
    is_baseline: bool
    measurement: Key
    front: list[Point]
    baselines: list[Baseline | None] = field(default_factory=list)

    @property
    def points(self) -> list[Point]:
        """All epochs of all runs."""
        return [point for run in self.runs for point in run.points]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its runs."""
        return sorted({run.seed for run in self.runs})

    @property
    def weights(self) -> list[float]:
        """The loss weights of its runs."""
        return sorted({run.weight for run in self.runs})

    def baseline_of(self, run: Run) -> Baseline | None:
        """Return what one of the runs is compared with."""
        return self.baselines[self.runs.index(run)]


@dataclass(eq=False)
class Study:
    """All runs, in configurations.

    Attributes:
        runs: The finished ones.
        unfinished: The others.
        configurations: Unguided ones first.
    """

    runs: list[Run]
    unfinished: list[UnfinishedRun]
    configurations: list[Configuration]

    @property
    def measurements(self) -> list[list[Configuration]]:
        """Return the configurations, those together whose metrics are comparable."""
        groups: dict[Key, list[Configuration]] = {}
        for configuration in self.configurations:
            groups.setdefault(configuration.measurement, []).append(configuration)
        return list(groups.values())


def make_study(
    runs: Sequence[Run], unfinished: Sequence[UnfinishedRun] = (), group_by: Sequence[str] = ()
) -> Study:
    """Group runs into configurations and merge their fronts.

    Args:
        runs: As :func:`~guidance.report.run_folder.find_runs` returns them.
        unfinished: Likewise.
        group_by: See :func:`~guidance.report.configuration.configuration_key`.

    Raises:
        InputError: If no run has one of the keys to group by.
    """
    check_group_by(runs, group_by)
    groups: dict[tuple[bool, Key, Key], list[Run]] = {}
    for run in runs:
        place = (is_baseline(run, runs), measurement_key(run), configuration_key(run, runs, group_by))
        groups.setdefault(place, []).append(run)
    ordered = sorted(groups.items(), key=lambda group: not group[0][0])
    names = [
        name
        for unguided in (True, False)
        for name in configuration_names([key for (other, _, key), _ in ordered if other == unguided])
    ]
    configurations = [
        Configuration(name, members, unguided, measurement, merged_front(members))
        for name, ((unguided, measurement, _), members) in zip(names, ordered, strict=True)
    ]
    for configuration in configurations:
        if not configuration.is_baseline:
            configuration.baselines = [find_baseline(run, runs) for run in configuration.runs]
    return Study(list(runs), list(unfinished), configurations)


def merged_front(runs: Iterable[Run]) -> list[Point]:
    """Return the epochs that no epoch of any of the runs beats in (F1, EPG, IoU) on val.

    Rao et al., ICCV 2023, section 5: across all epochs and all loss weights of one configuration. An epoch
    that is beaten within its own run is beaten here too, so that only the runs' own fronts are looked at; of
    equal epochs of one run only the first is there, of equal epochs of several runs all are.
    """
    kept = [point for run in runs for point in run.points if point.checkpoint]
    if not kept:
        return []
    marks = pareto_front(torch.tensor([point.values() for point in kept], dtype=torch.float64))
    return [point for point, mark in zip(kept, marks.tolist(), strict=True) if mark]


def find_baseline(run: Run, runs: Sequence[Run]) -> Baseline | None:
    """Return what a run is compared with, as it would have been deployed: the epoch with the best F1 on val.

    In this order: the start weights, where an unguided run of the study wrote them (measured again by this
    run, with its own attributor); the best epoch of an unguided run with the same measurement, model
    and seed; the start weights, wherever they come from.
    """
    before = {
        key.removeprefix("before/"): value for key, value in run.results.items() if key.startswith("before/")
    }
    source = source_of(run.start, runs)
    if before and source is not None and not source.guided:
        best = best_point([source])
        values = [before.get(f"val/{name}", math.nan) for name in OBJECTIVES]
        same = all(math.isclose(*pair, abs_tol=1e-5) for pair in zip(values, best.values(), strict=True))
        return Baseline(f"start weights, from {source.name}", before, best if same else None, run.start)
    alike = [
        other
        for other in runs
        if is_baseline(other, runs)
        and other.seed == run.seed
        and measurement_key(other) == measurement_key(run)
        and _model(other) == _model(run)
    ]
    if alike:
        best = best_point(alike)
        return Baseline(f"epoch {best.epoch} of {best.run.name}", best.metrics, best)
    return Baseline("start weights", before, None, run.start) if before else None


def best_point(runs: Iterable[Run]) -> Point:
    """Return the epoch with the best F1 on val; of several, that with the best EPG, then IoU."""
    return max((point for run in runs for point in run.points if point.checkpoint), key=lambda p: p.values())


def volume(values: Sequence[Sequence[float]]) -> float:
    """Return the hypervolume of rows of (F1, EPG, IoU) above :data:`REFERENCE`."""
    return hypervolume(
        torch.tensor(values, dtype=torch.float64).reshape(-1, 3), torch.tensor(REFERENCE, dtype=torch.float64)
    )


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the standard deviation (n - 1) of at least two values."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _model(run: Run) -> dict[str, Any]:
    return {
        key: value
        for key, value in run.config.items()
        if key.startswith("model.") and key not in ("model.checkpoint", "model.pretrained")
    }
