"""What a run found: ``results.json``, and the table a person reads first."""

import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from guidance import __version__

METRIC_NAMES = {
    "f1_micro": "F1 (micro)",
    "f1_macro": "F1 (macro)",
    "map": "mAP",
    "epg": "EPG",
    "iou": "IoU",
    "iou_at_0.5": "IoU at 0.5",
    "on_object_epg": "on-object EPG",
    "accuracy": "accuracy",
    "mean_group_accuracy": "mean-group accuracy",
    "worst_group_accuracy": "worst-group accuracy",
}
"""What is reported of a split, in the order of the tables."""
_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "bcos", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of this package and of the libraries that decide its numbers."""
    found = {"guidance": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def git_commit() -> str | None:
    """Return the commit of the source tree, with ``-dirty`` if it was changed; None outside a repository."""
    root = Path(__file__).resolve().parent.parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def print_table(
    after: Mapping[str, float], before: Mapping[str, float] | None = None, console: Console | None = None
) -> None:
    """Print the metrics of val and test in percent, before and after training.

    Args:
        after: Flat keys such as ``test/epg``; splits that are missing are left out.
        before: The same of the start weights, or None.
        console: Where to print; standard output by default.
    """
    splits = [split for split in ("val", "test") if f"{split}/f1_micro" in after]
    table = Table(title="Results in percent")
    table.add_column("", no_wrap=True)
    for split in splits:
        if before is not None:
            table.add_column(f"{split}\nbefore", justify="right", no_wrap=True)
            table.add_column(f"{split}\nafter", justify="right", no_wrap=True)
            table.add_column("change", justify="right", no_wrap=True)
        else:
            table.add_column(split, justify="right")
    for key, name in _rows(after, splits):
        cells: list[str] = []
        for split in splits:
            value = 100 * after[f"{split}/{key}"]
            if before is not None:
                start = 100 * before[f"{split}/{key}"]
                cells += [f"{start:.1f}", f"{value:.1f}", f"{value - start:+.1f}"]
            else:
                cells.append(f"{value:.1f}")
        # A data set may have masks, and these splits no image with one.
        if key.startswith("on_object_epg") and all(cell.endswith("nan") for cell in cells):
            continue
        table.add_row(name, *cells)
    (console or Console()).print(table)


def _rows(metrics: Mapping[str, float], splits: list[str]) -> list[tuple[str, str]]:
    """Return the keys to show, without their split, and their names; those of one layer each follow suit."""
    keys = list(dict.fromkeys(key.partition("/")[2] for key in metrics if key.partition("/")[0] in splits))
    rows = []
    for base, name in METRIC_NAMES.items():
        for key in keys:
            metric, at, layer = key.partition("@")
            if metric == base:
                rows.append((key, f"{name} at {layer}" if at else name))
    return rows


def provenance(seed: int) -> dict[str, Any]:
    """Return what identifies a run besides its configuration: seed, versions, git commit."""
    return {"seed": seed, "versions": versions(), "git_commit": git_commit()}
