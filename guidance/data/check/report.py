"""What the check prints, and the files it writes for other programs."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guidance.data.check.summary import SplitSummary, counted
from guidance.data.image_dataset import ImageDataset
from guidance.files import write_atomically
from guidance.printable import printable

_CLASSES_SHOWN = 100


def print_summary(console: Console, summaries: Mapping[str, SplitSummary]) -> None:
    """Print the numbers of each split, then those of each class and each group.

    Args:
        console: Where to print.
        summaries: Of at least one split.
    """
    console.print(_overview(summaries))
    console.print(_classes(summaries))
    if any(summary.images_per_group for summary in summaries.values()):
        table = _table("Images per group", summaries)
        for group in next(iter(summaries.values())).images_per_group:
            _add(table, group, [f"{summary.images_per_group[group]:,}" for summary in summaries.values()])
        console.print(table)


def _table(title: str, summaries: Mapping[str, SplitSummary]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for split in summaries:
        table.add_column(split, justify="right")
    return table


def _add(table: Table, name: str, cells: Sequence[str], style: str = "") -> None:
    """Add a row as it stands: names may hold what rich takes for markup."""
    table.add_row(*(Text(cell, style) for cell in (name, *cells)))


def _overview(summaries: Mapping[str, SplitSummary]) -> Table:
    table = _table("Splits", summaries)
    rows: dict[str, Callable[[SplitSummary], str]] = {
        "images": lambda s: f"{s.images:,}",
        "  without any object": lambda s: f"{s.images_without_object:,}",
        "  with a box": lambda s: f"{s.images_with_box:,}",
        "  without a box": lambda s: f"{s.images_without_box:,}",
        "  with a segmentation mask": lambda s: _known(s.images_with_mask),
        "  to look outside the boxes": lambda s: f"{s.images_to_look_outside:,}",
        "boxes": lambda s: f"{s.boxes:,}",
        "  per image, mean": lambda s: f"{s.boxes_per_image_mean:.2f}",
        "  per image, most": lambda s: f"{s.boxes_per_image_max:,}",
        "  of the whole image": lambda s: f"{s.whole_image_boxes:,}",
        "median width x height": lambda s: f"{s.median_width} x {s.median_height}",
    }
    if not any(summary.images_to_look_outside for summary in summaries.values()):
        del rows["  to look outside the boxes"]
    if all(summary.images_with_mask is None for summary in summaries.values()):
        del rows["  with a segmentation mask"]
    for name, cell in rows.items():
        _add(table, name, [cell(summary) for summary in summaries.values()])
    # Only training is guided.
    train = [summary if split == "train" else None for split, summary in summaries.items()]
    _add(
        table,
        "annotated for guidance",
        [f"{s.annotated_images:,} ({s.annotated_images / s.images:.1%})" if s else "" for s in train],
    )
    _add(table, "  and fit for it", [_known(s.guidable_images) if s else "" for s in train])
    return table


def _known(count: int | None) -> str:
    return "not read" if count is None else f"{count:,}"


def _classes(summaries: Mapping[str, SplitSummary]) -> Table:
    table = Table(title="Images and boxes per class", title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for split in summaries:
        for what in ("images", "boxes"):
            table.add_column(f"{split}\n{what}", justify="right")
    train = summaries.get("train")
    classes = list(next(iter(summaries.values())).images_per_class)
    absent = [name for name in classes if train is not None and train.images_per_class[name] == 0]
    for name in classes[:_CLASSES_SHOWN]:
        cells: list[str] = []
        for summary in summaries.values():
            cells += [f"{summary.images_per_class[name]:,}", f"{summary.boxes_per_class[name]:,}"]
        if name in absent:
            _add(table, f"{name} *", cells, "yellow")
        else:
            _add(table, name, cells)
    notes = ["* in no training image"] if absent else []
    if len(classes) > _CLASSES_SHOWN:
        notes.append(f"and {len(classes) - _CLASSES_SHOWN} more classes, see check.json")
    if notes:
        table.caption, table.caption_justify = "; ".join(notes), "left"
    return table


def print_skipped(console: Console, summaries: Mapping[str, SplitSummary], path: Path) -> None:
    """Print what was skipped and why, with the first places; nothing if nothing was.

    Args:
        console: Where to print.
        summaries: Of the splits.
        path: The file that has all places.
    """
    if not any(summary.skipped for summary in summaries.values()):
        return
    _say(console, f"Not used as it stands in the files (all: {path})", "italic")
    for split, summary in summaries.items():
        for skipped in summary.skipped:
            _say(console, f"  {split}: {counted(skipped.count, skipped.what)}: {skipped.reason}")
            for place in skipped.places:
                _say(console, f"      {place}", "dim")
            if skipped.count > len(skipped.places):
                _say(console, "      ...", "dim")


def print_verdict(console: Console, problems: Sequence[str], warnings: Sequence[str]) -> None:
    """Print every warning and problem, and whether training can start."""
    for warning in warnings:
        _say(console, f"Warning: {warning}", "yellow")
    for problem in problems:
        _say(console, f"Problem: {problem}", "red")
    if problems:
        _say(console, f"{counted(len(problems), 'problem')}: training cannot start", "bold red")
    else:
        _say(console, "Training can start", "bold green")


def _say(console: Console, text: str, style: str = "") -> None:
    # One line, however long, so that a path in it can be copied.
    console.print(Text(printable(text), style), soft_wrap=True)


def as_json(
    summaries: Mapping[str, SplitSummary],
    decoded: bool,
    problems: Sequence[str],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Return the content of ``check.json``.

    Args:
        summaries: Of the splits that could be made.
        decoded: Whether the images were read.
        problems: What keeps training from starting.
        warnings: What does not.
    """
    return {
        "can_train": not problems,
        "problems": list(problems),
        "warnings": list(warnings),
        "decoded": decoded,
        "splits": {
            split: asdict(summary) | {"images_without_box": summary.images_without_box}
            for split, summary in summaries.items()
        },
    }


def write_skipped(path: Path, datasets: Mapping[str, ImageDataset]) -> None:
    """Write ``skipped.csv``: one line for each thing that is not used, with split, what, reason and where."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "what", "reason", "where"))
    for split, dataset in datasets.items():
        writer.writerows((split, item.what, item.reason, item.where) for item in dataset.skipped)
    write_atomically(path, text.getvalue())
