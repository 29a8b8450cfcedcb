"""The finished runs of a study."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from guidance.errors import InputError


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: Where it wrote.
        config: Its resolved configuration.
        results: ``results.json``; what was measured later is under ``input/...``.
    """

    folder: Path
    config: DictConfig
    results: Mapping[str, Any]

    def option(self, key: str) -> Any:
        """Return a value of the configuration; ``loss`` is the localization loss's class, or ``none``."""
        if key == "loss":
            target = OmegaConf.select(self.config, "loss.localization._target_")
            return target.rpartition(".")[2] if target else "none"
        return OmegaConf.select(self.config, key)

    def __getitem__(self, metric: str) -> float:
        if metric not in self.results:
            raise InputError(f"{self.folder} has no result '{metric}'")
        value = self.results[metric]
        return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Runs:
    """Runs to choose from."""

    all: tuple[Run, ...] = field(default=())

    def __iter__(self) -> Iterator[Run]:
        return iter(self.all)

    def where(self, **options: Any) -> "Runs":
        """Return the runs with these options; ``__`` stands for a dot: ``data__task="reversed"``."""
        wanted = {key.replace("__", "."): value for key, value in options.items()}
        return Runs(tuple(run for run in self if all(run.option(k) == v for k, v in wanted.items())))

    def best(self, score: str | Callable[[Run], float], **options: Any) -> Run:
        """Return the run with the highest score among those with these options, e.g. over the weights.

        Raises:
            InputError: If there is none.
        """
        found = self.where(**options).all
        if not found:
            raise InputError(f"the study has no finished run with {options}")
        return max(found, key=score if callable(score) else lambda run: run[score])

    def seeds(self) -> list[int]:
        """Return the seeds, sorted."""
        return sorted({int(run.option("seed")) for run in self})


def read_runs(folder: Path) -> Runs:
    """Read the finished runs of a sweep's folder, and what was measured of them later.

    Args:
        folder: Holds a folder for each run; in a run, ``at_input/results.json`` may tell of an evaluation.
    """
    runs = []
    for results in sorted(folder.glob("*/results.json")):
        content = json.loads(results.read_text())
        later = results.parent / "at_input" / "results.json"
        if later.is_file():
            content |= {f"input/{key}": value for key, value in json.loads(later.read_text()).items()}
        config = OmegaConf.load(results.parent / "config.yaml")
        runs.append(Run(results.parent, cast(DictConfig, config), content))
    return Runs(tuple(runs))
