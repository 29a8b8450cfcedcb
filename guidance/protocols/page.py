"""What protocols found, on one page: numbers, figures, and where each comes from."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from guidance.errors import InputError
from guidance.foreign_text import read_bytes, read_json, read_text
from guidance.report.page import Cell, Page, Section, Value
from guidance.report.page.table import draw_table

PAGE = "report.html"

_MOST_ROWS = 2000  # of a CSV that is shown

_CAPTIONS = {
    "boxplots": "Scores of all maps: quartiles and median as boxes, whiskers from 5 % to 95 %.",
    "aggatt": "AggAtt: the mean map of each bin of maps, sorted by score; below, how many and their mean "
    "score. The explained cell is framed; each row has a colour scale of its own.",
    "curves": "Mean over images, and its standard error as a band.",
    "randomization": "Mean similarity with the trained network's maps, and its standard error as a band; "
    "dotted, the similarity of maps of different images.",
    "pointing": "Mean scores and their standard errors, and the score of a map that knows nothing.",
}


def protocol_page(folders: Sequence[Path]) -> Page:
    """Build a page of the output folders of protocols, a section each.

    Args:
        folders: At least one; each with a ``results.json``.

    Raises:
        InputError: If a folder holds no results of a protocol.
    """
    found = [(folder, _read(folder)) for folder in folders]
    models = dict.fromkeys(str(model["name"]) for _, results in found for model in results["models"])
    page = Page("Is the map to be trusted?", f"Models: {', '.join(models)}")
    for folder, results in found:
        _fill(page.section(_title(results)), folder, results)
    return page


def _title(results: Mapping[str, Any]) -> str:
    n = results.get("n")
    return f"{results['protocol']}, {n} x {n}" if n else str(results["protocol"])


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        raise InputError(f"{folder} is no output folder of a protocol: it has no results.json")
    results: Any = read_json(path)
    if not isinstance(results, dict) or "protocol" not in results:
        raise InputError(
            f"{path} is not of a protocol, but of another evaluation: its key 'protocol' is missing"
        )
    models = results.setdefault("models", [])
    if not isinstance(models, list) or not all(isinstance(one, dict) and "name" in one for one in models):
        raise InputError(f"{path} is damaged: its 'models' is no list of what has a name")
    return results


def _fill(section: Section, folder: Path, results: Mapping[str, Any]) -> None:
    facts = [f"{key} {_shown(value)}" for key, value in results.items() if isinstance(value, int | float)]
    section.text(f"{folder}: {', '.join(facts)}; commit {results.get('git_commit') or 'unknown'}.")
    tables = {
        key: value
        for key, value in results.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    }
    if "scores" in tables:
        section.table(*_columns_and_rows(tables.pop("scores")))
    for path in [*sorted(folder.glob("*.png")), *sorted(folder.glob("*/*.png"))]:
        stem = path.parent.name if path.parent != folder else path.stem.split("_")[0]
        caption = _CAPTIONS.get(stem, "")
        name = path.relative_to(folder).as_posix()
        try:
            section.figure(read_bytes(path), f"{name}. {caption}".strip())
        except (ValueError, InputError) as error:
            section.text(f"{name} is not shown: {error}.")
    for key, rows in tables.items():
        _folded(section, key, rows)
    for path in sorted(folder.glob("*.csv")):
        try:
            read = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
        except (csv.Error, InputError) as error:
            section.text(f"{path.name} is not shown: {error}.")
            continue
        if len(read) > _MOST_ROWS:
            section.text(f"{path.name} has {len(read)} rows, too many to show here.")
        elif read:
            _folded(section, path.name, read)


def _folded(section: Section, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add a table that is hidden until its name is clicked."""
    table = draw_table(*_columns_and_rows(rows))
    summary = f"{name}: {len(rows)} row{'s' if len(rows) > 1 else ''}"
    section.add(Markup("<details><summary>{}</summary>{}</details>").format(summary, table))


def _columns_and_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Value]]]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[_cell(row.get(column)) for column in columns] for row in rows]


def _cell(value: Any) -> Value:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return Cell(_shown(number) if not value.isdigit() else value, sort=number)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return Cell(_shown(value), sort=value)
    return json.dumps(value)


def _shown(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
