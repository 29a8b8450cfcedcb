"""Tables that a click on a column's name sorts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from markupsafe import Markup

_SCHEMES = ("", "file", "http", "https")


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        text: What it says.
        sort: What the column is sorted by, if not the text.
        link: A URL, or a path relative to the page; "" for none.
        shows: The name of the panel that a click shows; "" for none.
    """

    text: str
    sort: float | None = None
    link: str = ""
    shows: str = ""


Value = Cell | str | int | float | None


def link_to(link: str) -> str:
    """Return a link as it may stand in a page.

    Raises:
        ValueError: If it is anything but a path or a web page, such as a script.
    """
    if urlsplit(link).scheme.lower() not in _SCHEMES:
        raise ValueError(f"a page links to files and web pages only; got {link!r}")
    return quote(link, safe="/:#?&=%~+,;@")


def draw_table(columns: Sequence[str], rows: Sequence[Sequence[Value]], caption: str = "") -> Markup:
    """Return a sortable table. Numbers stand at the right; None is an empty cell and sorts last.

    Raises:
        ValueError: If a row has another number of cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(columns)} columns: {row}")
    numeric = [any(_sort_key(row[column]) for row in rows) for column in range(len(columns))]
    head = Markup("").join(
        Markup('<th scope="col"{}><button type="button">{}</button></th>').format(
            Markup(' class="number"') if number else "", name
        )
        for name, number in zip(columns, numeric, strict=True)
    )
    body = Markup("\n").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(_draw_cell(value, number) for value, number in zip(row, numeric, strict=True))
        )
        for row in rows
    )
    return Markup(
        '<div class="scroll"><table>{}<thead><tr>{}</tr></thead><tbody>\n{}\n</tbody></table></div>'
    ).format(Markup("<caption>{}</caption>").format(caption) if caption else "", head, body)


def _sort_key(value: Value) -> str:
    """Return a number as text, "" for what is none."""
    number = value.sort if isinstance(value, Cell) else value
    if isinstance(number, int | float) and math.isfinite(number):
        return repr(float(number))
    return ""


def _text(value: Value) -> str:
    if isinstance(value, Cell):
        return value.text
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _draw_cell(value: Value, number: bool) -> Markup:
    text: str | Markup = _text(value)
    if isinstance(value, Cell) and value.link:
        text = Markup('<a href="{}">{}</a>').format(link_to(value.link), text)
    if isinstance(value, Cell) and value.shows:
        text = Markup('<button type="button" class="show" data-shows="{}">{}</button>').format(
            value.shows, text
        )
    return Markup("<td{}{}>{}</td>").format(
        Markup(' class="number"') if number else "",
        Markup(' data-sort="{}"').format(_sort_key(value)) if number else "",
        text,
    )
