"""A logger that writes every metric to one CSV file and continues it after a resume."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from guidance.files import write_atomically


class MetricsCSV(Logger):
    """Rows of ``metrics.csv``: epoch, step, and whatever was logged at that step; empty where nothing was.

    Rows are appended; only a metric with a new name rewrites the file, atomically.

    Args:
        path: The file. A resumed run continues it (see :meth:`rewind`).
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict[str, str]] = []
        self.columns = ["epoch", "step"]

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
            text = self.path.read_text(encoding="utf-8")
            # A kill may have torn the last line.
            reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
            self.columns = list(reader.fieldnames or self.columns)
            self.rows = [row for row in reader if int(row["step"] or 0) < step]
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
        if new:
            self._rewrite()
            return
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, text.getvalue())
