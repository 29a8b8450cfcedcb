"""What a run is to a report: its configuration, its results, and its epochs as points."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OBJECTIVES = ("f1_micro", "epg", "iou")
"""What a front is over, on either split."""

Metrics = dict[str, float]
"""Flat, e.g. ``val/epg`` and ``test/f1_micro``; fractions."""


@dataclass(eq=False)
class Point:
    """One epoch of one run.

    Attributes:
        run: Whose it is.
        epoch: From 0.
        step: Optimizer steps done.
        metrics: Of val; of test too, once it was evaluated.
        checkpoint: Its file's name in the run's folder ``pareto``; "" if it was beaten within its run.
    """

    run: "Run"
    epoch: int
    step: int
    metrics: Metrics
    checkpoint: str = ""

    @property
    def path(self) -> Path:
        """The checkpoint; only of points that were not beaten within their run."""
        return self.run.folder / "pareto" / self.checkpoint

    def values(self, split: str = "val") -> list[float]:
        """Return (F1, EPG, IoU) of a split; nan where it was not evaluated."""
        return [self.metrics.get(f"{split}/{name}", math.nan) for name in OBJECTIVES]


@dataclass(eq=False)
class Run:
    """A finished run.

    Attributes:
        folder: Where it is.
        name: The part of its path that tells it from the study's other runs.
        config: The resolved configuration, keys joined by dots.
        results: The final weights' metrics; keys from ``before/`` on are those of the start weights.
        commit: Of the source tree.
        command: What was typed; "" if it was not started from the command line.
        home: The folder that it was written to, absolute; the run may have been moved since.
        cwd: Where it was started.
        curves: Rows of ``metrics.csv``.
        points: All epochs that have the three metrics, in their order.
    """

    folder: Path
    config: dict[str, Any]
    results: Metrics
    commit: str
    command: str
    home: str
    cwd: str
    name: str = ""
    curves: list[dict[str, float]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Of all randomness."""
        return int(self.config["seed"])

    @property
    def weight(self) -> float:
        """Of the localization loss; 0 without one."""
        return float(self.config["loss.weight"]) if self.guided else 0.0

    @property
    def guided(self) -> bool:
        """Whether it was trained with a localization loss."""
        # A loss is a folder of keys in the flat configuration, and null where there is none.
        return "loss.localization" not in self.config and float(self.config.get("loss.weight") or 0) > 0

    @property
    def start(self) -> str:
        """The checkpoint that it started from, absolute; "" for none."""
        given = self.config.get("model.checkpoint")
        return self.absolute(str(given)) if given else ""

    def absolute(self, path: str) -> str:
        """Return a path of this run's configuration as it was when the run was started."""
        return os.path.normpath(Path(self.cwd) / path)


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that cannot be part of a study.

    Attributes:
        folder: Where it is.
        reason: What is missing.
    """

    folder: Path
    reason: str
