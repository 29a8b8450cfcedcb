"""Means with their standard errors, and tables that are written as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from guidance.files import write_atomically


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return means over the first dimension and their standard errors.

    Args:
        values: floating point [n, ...], n >= 1.

    Returns:
        Mean [...] and standard error, the standard deviation (n - 1) over the root of n; 0 if n = 1.
    """
    mean = values.mean(dim=0)
    if len(values) == 1:
        return mean, mean * 0
    return mean, values.std(dim=0) / len(values) ** 0.5


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys, at least one, as CSV; floats with 8 digits."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([f"{value:.8g}" if isinstance(value, float) else value for value in row.values()])
    write_atomically(path, text.getvalue())
