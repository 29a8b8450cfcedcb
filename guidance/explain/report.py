"""The numbers of explained images: a table in the terminal, and one as a file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guidance.explain.evidence import Evidence
from guidance.files import write_atomically

_ROWS_SHOWN = 60
COLUMNS = (
    "image", "checkpoint", "layer", "class", "probability", "logit", "positive_evidence", "inside", "outside",
    "share_inside", "contributions", "bias", "positional_share",
)  # fmt: skip
"""Of ``explanations.csv``."""


def write_table(path: Path, evidence: Sequence[Evidence]) -> None:
    """Write ``explanations.csv``: one line for each image, model, layer and class; empty where undefined.

    Args:
        path: The file.
        evidence: The lines.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in evidence:
        numbers = (
            entry.probability,
            entry.logit,
            entry.positive,
            entry.inside,
            None if entry.inside is None else entry.positive - entry.inside,
            entry.share_inside,
            entry.contributions,
            entry.bias,
            entry.positional,
        )
        names = (entry.image, entry.model, entry.layer, entry.class_name)
        writer.writerow((*names, *("" if value is None else f"{value:.8g}" for value in numbers)))
    write_atomically(path, text.getvalue())


def print_table(console: Console, evidence: Sequence[Evidence]) -> None:
    """Print the first lines, without columns in which all are alike.

    Args:
        console: Where to print.
        evidence: The lines, at least one.
    """
    several_models = len({entry.model for entry in evidence}) > 1
    several_layers = len({entry.layer for entry in evidence}) > 1
    boxes = any(entry.inside is not None for entry in evidence)
    title = "Positive evidence, inside and outside the boxes" if boxes else "Positive evidence"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("image", overflow="fold", min_width=10)
    table.add_column("class", no_wrap=True)
    for name, shown in (("checkpoint", several_models), ("layer", several_layers)):
        if shown:
            table.add_column(name, no_wrap=True)
    for name in ("p", "evidence", *(("inside", "outside", "share") if boxes else ())):
        table.add_column(name, justify="right", no_wrap=True)
    # What is to be compared stands together: the models and layers of one class of an image.
    places = {pair: i for i, pair in enumerate(dict.fromkeys((e.image, e.class_name) for e in evidence))}
    images = {name: i for i, name in enumerate(dict.fromkeys(e.image for e in evidence))}
    ordered = sorted(evidence, key=lambda e: (images[e.image], places[e.image, e.class_name]))
    previous: tuple[str, str] = "", ""
    for entry in ordered[:_ROWS_SHOWN]:
        own = entry.image, entry.class_name
        cells = [
            entry.image if entry.image != previous[0] else "",
            entry.class_name if own != previous else "",
        ]
        cells += [entry.model] if several_models else []
        cells += [entry.layer] if several_layers else []
        cells += [f"{entry.probability:.3f}", f"{entry.positive:.3g}"]
        if boxes and entry.inside is not None and entry.share_inside is not None:
            outside = entry.positive - entry.inside
            cells += [f"{entry.inside:.3g}", f"{outside:.3g}", f"{entry.share_inside:.1%}"]
        elif boxes:
            cells += ["", "", "no box"]
        table.add_row(*(Text(cell) for cell in cells))
        previous = own
    if len(evidence) > _ROWS_SHOWN:
        table.caption, table.caption_justify = f"and {len(evidence) - _ROWS_SHOWN} more lines", "left"
    console.print(table)
