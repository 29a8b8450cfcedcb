"""A sweep: finished jobs are left alone, stopped ones continue, failed ones are rerun."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from guidance.command_line import CONFIG_DIR, input_error, refuse_own_processes
from guidance.errors import InputError
from guidance.progress import progress_over
from guidance.sweep.job_table import write_job_table
from guidance.sweep.jobs import Job, plan_jobs
from guidance.sweep.lines import expand_lines

log = logging.getLogger(__name__)


def sweep(
    lines: Sequence[str],
    arguments: Sequence[str],
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
) -> list[Sequence[JobReturn]]:
    """Run what is not finished; end the program with a list of what failed and exit status 1.

    A job's folder is named by its number and by digits that stand for its configuration; the digits decide,
    so that a sweep to which values are added finds the runs it has. Whether a job is finished is read from
    its folder (``results.json``), whatever the launcher says.

    Args:
        lines: See :func:`guidance.sweep.lines.expand_lines`.
        arguments: The command line's overrides.
        config: The sweep's configuration, Hydra's part included.
        loader: Composes the jobs' configurations.
        launcher: Runs jobs.

    Returns:
        What Hydra wants to know of each job that was run.

    Raises:
        InputError: If a job's configuration is wrong; nothing was run then.
    """
    folder = Path(str(config.hydra.sweep.dir))
    jobs = _plan(expand_lines(lines, arguments), config, loader)
    if type(launcher).__name__ != "SlurmLauncher":  # which starts a process for each device itself
        for job in jobs:
            refuse_own_processes(job.config)
    states = [job.state for job in jobs]
    counts = {state: states.count(state) for state in ("finished", "stopped", "new")}
    log.info(
        "%d jobs in %s: %s", len(jobs), folder, ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_job_table(folder / "jobs.csv", jobs, {})
    todo = [job for job, state in zip(jobs, states, strict=True) if state != "finished"]
    returned, reasons = _launch(todo, launcher) if todo else ([], {})
    write_job_table(folder / "jobs.csv", jobs, reasons)
    failed = [job for job in jobs if job.state != "finished"]
    if failed:
        _print_failed(failed, len(jobs), reasons)
        sys.exit(1)
    log.info("all %d jobs are finished: %s", len(jobs), folder)
    return [returned]


def _plan(overrides: list[list[str]], config: DictConfig, loader: ConfigLoader) -> list[Job]:
    def compose(one: Sequence[str], number: int) -> DictConfig:
        try:
            job = loader.load_sweep_config(config, [*one, _fixed("dir", config.hydra.sweep.dir)])
        except Exception as error:
            raise InputError(f"job '{' '.join(one)}': {str(error).splitlines()[0]}") from error
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        return job

    with progress_over(overrides, "composing the jobs", shown=len(overrides) > 10) as shown:
        return plan_jobs(shown, compose)


def _launch(jobs: list[Job], launcher: Launcher) -> tuple[Sequence[JobReturn], dict[Path, str]]:
    """Run jobs; return what the launcher returned, and why jobs failed, where that is known."""
    overrides = [
        [*job.overrides, _fixed("dir", job.folder.parent), _fixed("subdir", job.folder.name)] for job in jobs
    ]
    # Processes that a launcher starts, on other machines too, are to import this same source tree.
    paths = [str(CONFIG_DIR.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        returned = launcher.launch(overrides, initial_job_idx=0)
    except Exception as error:
        log.exception("the launcher stopped")
        first = str(error).strip().splitlines()[:1]
        reason = (
            f"killed or still running: the launcher stopped ({': '.join([type(error).__name__, *first])})"
        )
        return [], {job.folder: reason for job in jobs if job.state != "finished"}
    reasons = {}
    for job, result in zip(jobs, returned, strict=True):
        if result.status != JobStatus.COMPLETED:
            cause = result._return_value
            reasons[job.folder] = input_error(cause) or f"{type(cause).__name__}: {cause}"
    return returned, reasons


def _fixed(key: str, folder: object) -> str:
    """Fix a folder that would be found anew in the job's process, where the command line is another."""
    return f"hydra.sweep.{key}={json.dumps(str(folder))}"


def _print_failed(failed: Sequence[Job], total: int, reasons: dict[Path, str]) -> None:
    print(f"Error: {len(failed)} of {total} jobs failed; the same command goes on with them", file=sys.stderr)
    for job in failed:
        print(f"  {job.folder}: {' '.join(job.overrides)}", file=sys.stderr)
        print(f"    {reasons.get(job.folder, 'no results: it was killed')}", file=sys.stderr)
