"""Waterbirds' table: which bird, which background and which split every image is."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from guidance.data.waterbirds.cub import relative_path
from guidance.errors import InputError
from guidance.files import write_atomically

COLUMNS = ("img_id", "img_filename", "y", "split", "place", "place_filename")
"""The released columns."""

SPLITS = ("train", "val", "test")
"""In the order of their numbers."""

BIRDS = ("landbird", "waterbird")
PLACES = ("land", "water")
GROUPS = tuple(f"{bird} on {place}" for bird in BIRDS for place in PLACES)
"""Group 2 * bird + place."""


@dataclass(frozen=True)
class MetadataRow:
    """One image of Waterbirds.

    Attributes:
        file_name: Below the folder of the table.
        bird: 0 for a landbird, 1 for a waterbird.
        place: 0 for land, 1 for water.
        split: 0 to 2, a position in :data:`SPLITS`.
        where: The table's file and line; "" for an image that is yet to be written.
        number: CUB's number of the image; not read back.
        place_file: The background's file below the folder of places; not read back.
    """

    file_name: str
    bird: int
    place: int
    split: int
    where: str = ""
    number: str = ""
    place_file: str = ""

    @property
    def group(self) -> int:
        """The image's position in :data:`GROUPS`."""
        return 2 * self.bird + self.place


def read_metadata(path: Path) -> list[MetadataRow]:
    """Read ``metadata.csv``; of its columns ``img_filename``, ``y``, ``split`` and ``place`` are needed.

    Raises:
        InputError: Naming the file and line, if it cannot be read, is empty, lacks a column, or a line has a
            number or file name that cannot be, or a file name for the second time.
    """
    rows: list[MetadataRow] = []
    lines: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            needed = COLUMNS[1:5]
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path}:1: the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
                    f"must be there; needed are {', '.join(needed)}"
                )
            for record in reader:
                row = _row(record, f"{path}:{reader.line_num}")
                if row.file_name in lines:
                    raise InputError(
                        f"{row.where}: {row.file_name} is the image of line {lines[row.file_name]} too"
                    )
                lines[row.file_name] = reader.line_num
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not rows:
        raise InputError(f"{path} lists no image; it needs one a line")
    return rows


def write_metadata(path: Path, rows: Iterable[MetadataRow]) -> None:
    """Write the table with the released columns, atomically; the places' files get their slash there."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((r.number, r.file_name, r.bird, r.split, r.place, f"/{r.place_file}") for r in rows)
    write_atomically(path, text.getvalue())


def _row(record: dict[str, str | None], where: str) -> MetadataRow:
    return MetadataRow(
        file_name=relative_path((record["img_filename"] or "").strip(), where),
        bird=_number(record, "y", 2, where),
        place=_number(record, "place", 2, where),
        split=_number(record, "split", 3, where),
        where=where,
    )


def _number(record: dict[str, str | None], column: str, count: int, where: str) -> int:
    text = (record[column] or "").strip()
    known = [str(value) for value in range(count)]
    if text not in known:
        raise InputError(f"{where}: {column} is '{text}'; it must be {', '.join(known[:-1])} or {known[-1]}")
    return int(text)
