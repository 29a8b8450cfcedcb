"""A logger that writes every metric to one CSV file and continues it after a resume."""

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from guidance.files import write_atomically

log = logging.getLogger(__name__)


class MetricsCSV(Logger):
    """Rows of ``metrics.csv``: epoch, step, and whatever was logged at that step; empty where nothing was.

    Rows are appended; only a metric with a new name rewrites the file, atomically. A row that cannot be
    written, on a full disk say, does not stop the run: a warning says so, and all rows are written as soon as
    it is possible again.

    Args:
        path: The file. A resumed run continues it (see :meth:`rewind`).
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict[str, str]] = []
        self.columns = ["epoch", "step"]
        self._complete = True

    @property
    def name(self) -> str:
        """Return the name that Lightning asks for."""
        return "csv"

    @property
    def version(self) -> str:
        """Return the version that Lightning asks for: there is only one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the configuration has a file of its own."""

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Read back an earlier run's rows up to a step and drop the later ones, which will be made anew.

        Args:
            step: Optimizer steps done so far. They are counted from 0, so rows from this number on are
                dropped; 0 drops everything.
        """
        self.rows, self.columns = [], ["epoch", "step"]
        if step and self.path.is_file():
            columns, rows = _whole_rows(self.path)
            if columns[:2] == self.columns:
                self.columns, self.rows = columns, [row for row in rows if int(row["step"]) < step]
            else:
                log.warning("%s has no table of metrics; starting a new one", self.path)
        self._rewrite()

    @rank_zero_only
    def log_unlogged(self, metrics: Mapping[str, float], step: int) -> None:
        """Write what a checkpoint knows of its last step, unless the row of this step is there.

        A checkpoint within an epoch is saved before the loggers are told of the step.
        """
        written = {row["step"] for row in self.rows if any(row.get(name) for name in metrics)}
        if metrics and str(step) not in written:
            self.log_metrics(metrics, step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the metrics of one step."""
        values = {key: f"{value:.8g}" for key, value in metrics.items() if key != "epoch"}
        row = {"epoch": f"{int(metrics.get('epoch', 0))}", "step": str(step or 0)} | values
        new = [key for key in row if key not in self.columns]
        self.columns += new
        self.rows.append(row)
        try:
            if new or not self._complete:
                self._rewrite()
            else:
                with self.path.open("a", newline="") as file:
                    csv.DictWriter(file, self.columns, restval="").writerow(row)
        except OSError as error:
            self._warn(error)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Try once more to write rows that could not be written."""
        if not self._complete:
            try:
                self._rewrite()
            except OSError as error:
                self._warn(error)

    def _warn(self, error: OSError) -> None:
        if self._complete:
            log.warning(
                "cannot write %s: %s; going on, and trying again with every row",
                self.path,
                error.strerror or error,
            )
        self._complete = False

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())
        self._complete = True


def _whole_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the columns and those rows that are whole; a crash may have torn the last one."""
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    for line in path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]:
        try:
            cells = next(csv.reader([line.rstrip("\r")]), [])
        except csv.Error:
            continue
        if not columns:
            columns = cells
        elif len(cells) == len(columns) > 1 and cells[1].isdecimal() and len(cells[1]) < 20:
            rows.append(dict(zip(columns, cells, strict=True)))
    return columns, rows
