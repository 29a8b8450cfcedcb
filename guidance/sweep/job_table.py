"""``jobs.csv``: what each folder of a sweep holds."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from guidance.files import write_atomically
from guidance.sweep.jobs import Job


def write_job_table(path: Path, jobs: Sequence[Job], reasons: Mapping[Path, str]) -> None:
    """Write a line for each job: its folder, its state, why it failed, its overrides.

    Args:
        path: The file.
        jobs: In order.
        reasons: Why jobs failed, by their folder.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["folder", "state", "reason", "overrides"])
    for job in jobs:
        reason = reasons.get(job.folder, "")
        state = "failed" if reason else job.state
        writer.writerow([job.folder.name, state, reason, " ".join(job.overrides)])
    write_atomically(path, text.getvalue())
