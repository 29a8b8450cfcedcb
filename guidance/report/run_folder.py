"""Reading run folders: finished ones as they are, and of the others what is missing."""

import csv
import io
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from guidance.errors import InputError
from guidance.foreign_text import read_json, read_text, read_yaml
from guidance.printable import one_line
from guidance.report.run import OBJECTIVES, Metrics, Point, Run, UnfinishedRun

_LARGEST_CURVES = 2**28  # bytes of metrics.csv


class BrokenRun(Exception):  # noqa: N818 - a finding, which is reported
    """A run cannot be part of a study; the message says what is missing."""


_LARGEST = 1e300  # what is beyond is not meant as a number


def find_runs(folders: Iterable[str | Path]) -> tuple[list[Run], list[UnfinishedRun]]:
    """Read all runs in some folders, however deep. Evaluations (``evaluate.py``) are no runs.

    Args:
        folders: Each a run, a sweep or a folder of them; a run that is found twice counts once.

    Returns:
        The runs in the order of their paths, and what looks like a run but is not finished.

    Raises:
        InputError: If a folder does not exist or has no run in it.
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"no folder {folder}; name runs, sweeps, or folders of them")
        inside = sorted(path for path in _folders(folder) if _is_run(path))
        if not inside:
            raise InputError(f"no run in {folder}: a run's folder has a config.yaml and a results.json")
        found |= dict.fromkeys(path.resolve() for path in inside)
    runs: list[Run] = []
    unfinished: list[UnfinishedRun] = []
    for path in found:
        try:
            runs.append(read_run(path))
        except BrokenRun as error:
            unfinished.append(UnfinishedRun(path, str(error)))
    names = _short_names([run.folder for run in runs])
    for run, name in zip(runs, names, strict=True):
        run.name = one_line(name)
    return runs, unfinished


def read_run(folder: Path) -> Run:
    """Read one run.

    Raises:
        BrokenRun: If it is not finished, or a file of it is broken.
    """
    config = flatten(_read_yaml(folder / "config.yaml"))
    results = _read_json(folder / "results.json", "the run is not finished, or was stopped")
    front = _read_json(folder / "pareto" / "front.json", "no epoch was validated")
    for key in ("seed", "loss.weight"):
        value = config.get(key)
        if not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise BrokenRun(f"config.yaml: {key} is no number")
    hydra = folder / ".hydra"
    runtime = flatten(_read_yaml(hydra / "hydra.yaml")) if (hydra / "hydra.yaml").is_file() else {}
    cwd = str(runtime.get("hydra.runtime.cwd", ""))
    run = Run(
        folder=folder,
        config=config,
        results=_numbers(results),
        commit=str(results.get("git_commit") or ""),
        command=_read_command(hydra / "overrides.yaml"),
        home=os.path.normpath(Path(cwd) / str(config.get("paths.output_dir") or folder)),
        cwd=cwd,
        curves=_read_curves(folder / "metrics.csv"),
    )
    try:
        points = [_read_point(run, entry, kept=True) for entry in front["front"]]
        points += [_read_point(run, entry, kept=False) for entry in front["dominated"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BrokenRun(f"pareto/front.json is not one of this project's: {error!r}") from error
    if not points:
        raise BrokenRun("pareto/front.json has no epoch in which F1, EPG and IoU could all be measured")
    run.points = sorted(points, key=lambda point: point.epoch)
    return run


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one of dotted keys. Lists are values; an empty mapping has no key."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _folders(folder: Path) -> Iterable[Path]:
    """Walk through a folder without hidden ones, links, and what a run keeps inside."""
    for root, names, _ in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".") and name != "wandb"]
        yield Path(root)


def _is_run(folder: Path) -> bool:
    if (folder / "config.yaml").is_file() or (folder / "metrics.csv").is_file():
        return True
    if (folder / ".hydra" / "hydra.yaml").is_file():  # stopped before it wrote anything, or no training
        try:
            return flatten(_read_yaml(folder / ".hydra" / "hydra.yaml")).get("hydra.job.name") == "train"
        except BrokenRun:
            return False
    return False


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BrokenRun(f"{path.name} is missing: the run stopped before training")
    try:
        content = read_yaml(path)
    except InputError as error:
        raise BrokenRun(f"{path.name} is broken: {error}") from error
    if not isinstance(content, dict):
        raise BrokenRun(f"{path.name} is broken: it holds no keys")
    return content


def _read_json(path: Path, meaning: str) -> dict[str, Any]:
    if not path.is_file():
        raise BrokenRun(f"{path.name} is missing: {meaning}")
    try:
        content = read_json(path)
    except InputError as error:
        raise BrokenRun(f"{path.name} is broken: {error}") from error
    if not isinstance(content, dict):
        raise BrokenRun(f"{path.name} is broken: it holds no keys")
    return content


def _numbers(content: Mapping[str, Any]) -> Metrics:
    """Return the metrics among a file's entries; null, which stands for nan, and infinities are left out."""
    return {
        str(key): float(value)
        for key, value in content.items()
        if type(value) in (int, float) and abs(value) < _LARGEST and "/" in str(key)
    }


def _read_point(run: Run, entry: Mapping[str, Any], kept: bool) -> Point:
    metrics = _numbers(entry["metrics"]) | _numbers(entry.get("test") or {})
    missing = [name for name in OBJECTIVES if f"val/{name}" not in metrics]
    if missing:
        raise ValueError(f"it is not over {', '.join(OBJECTIVES)}")
    checkpoint = str(entry["checkpoint"]) if kept else ""
    if checkpoint != Path(checkpoint).name:
        raise ValueError(f"checkpoint {checkpoint!r} is not in the run's folder")
    epoch, step = entry["epoch"], entry["global_step"]
    if (
        type(epoch) is not int
        or type(step) is not int
        or not (0 <= epoch < _LARGEST and 0 <= step < _LARGEST)
    ):
        raise ValueError(f"epoch {epoch!r}, step {step!r} cannot be counted")
    return Point(run, epoch, step, metrics, checkpoint)


def _read_command(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        overrides = read_yaml(path)
    except InputError:
        return ""
    if not isinstance(overrides, list):
        return ""
    return one_line(shlex.join(["python", "train.py", *map(str, overrides)]))


def _read_curves(path: Path) -> list[dict[str, float]]:
    """Return the rows of ``metrics.csv``, without what is no number; none if there is no such file."""
    if not path.is_file():
        return []
    rows = []
    try:
        for row in csv.DictReader(io.StringIO(read_text(path, _LARGEST_CURVES), newline="")):
            numbers = {}
            for key, text in row.items():
                try:
                    numbers[str(key)] = float(text)
                except (TypeError, ValueError):
                    continue
            rows.append(numbers)
    except (csv.Error, InputError) as error:
        raise BrokenRun(f"{path.name} is broken: {error}") from error
    return rows


def _short_names(folders: list[Path]) -> list[str]:
    """Return the paths below what all of them have in common."""
    if len(folders) < 2:
        return [folder.name for folder in folders]
    common = os.path.commonpath(folders)
    return [str(folder.relative_to(common)) for folder in folders]
