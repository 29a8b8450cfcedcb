"""``python -m guidance.claims [seeds=0,1,2] [jobs=2] [key=value ...]``; see ``--help``."""

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from guidance.claims.claim import judge
from guidance.claims.paper import CLAIMS
from guidance.claims.runs import Run, Runs, read_runs
from guidance.claims.table import print_verdicts, write_verdicts
from guidance.command_line import CONFIG_DIR, check_overrides, one_line_errors
from guidance.errors import InputError
from guidance.files import write_json

_HELP = """\
Measure on the embedded data what the paper claims, print what holds, and write docs/claims.md.

python -m guidance.claims [seeds=0,1,2] [jobs=1] [only=losses,depth] [page=docs/claims.md] [key=value ...]

  seeds   of the runs whose mean and spread are told
  jobs    trainings at once (more than one: pip install "model-guidance[parallel]")
  only    studies to look at: losses, annotations, dilation, depth, waterbirds
  page    where to write

All else is an override of every training, e.g. trainer.max_epochs=2. Runs that are finished are used again.
"""
_OWN = {"seeds": "0,1,2", "jobs": "1", "only": "", "page": str(CONFIG_DIR.parent / "docs" / "claims.md")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Without the program's name; those of this process if None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if any(one in ("-h", "--help") for one in given):
        print(_HELP, end="")
        return
    logging.basicConfig(level=logging.WARNING)
    with one_line_errors():
        own = _OWN | dict(one.split("=", 1) for one in given if one.partition("=")[0] in _OWN)
        overrides = [one for one in given if one.partition("=")[0] not in _OWN]
        check_overrides("train", ["recipe=shapes", *overrides])
        studies = own["only"].split(",") if own["only"] else list(dict.fromkeys(c.study for c in CLAIMS))
        claims = [claim for claim in CLAIMS if claim.study in studies]
        if not claims:
            raise InputError(f"only={own['only']}: there are {', '.join(sorted({c.study for c in CLAIMS}))}")
        found = {study: run_study(study, own["seeds"], int(own["jobs"]), overrides) for study in studies}
        verdicts = [judge(claim, found[claim.study]) for claim in claims]
        print_verdicts(verdicts)
        write_verdicts(Path(own["page"]), verdicts, " ".join(["python -m guidance.claims", *given]))
        print(f"written: {own['page']}")


def run_study(study: str, seeds: str, jobs: int, overrides: Sequence[str]) -> Runs:
    """Run what is not finished of a study's embedded twin and return the runs of these seeds.

    Raises:
        InputError: If a run failed.
    """
    recipe = "shapes_spurious" if study == "waterbirds" else "shapes"
    runs_dir = next((o.partition("=")[2] for o in overrides if o.startswith("paths.runs_dir=")), "outputs")
    folder = Path(runs_dir) / "study" / study / recipe
    parallel = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"] if jobs > 1 else []
    _run("train.py", f"experiment=study/{study}", f"recipe={recipe}", f"seed={seeds}", *overrides, *parallel)
    listed = _finished(folder)
    runs = Runs(tuple(run for run in read_runs(folder) if run.folder.name in listed))
    return _measure_depth(runs) if study == "depth" else runs


def _finished(folder: Path) -> set[str]:
    """Return the folders of the sweep that was just run: its folder may hold runs of others."""
    with (folder / "jobs.csv").open(newline="") as file:
        return {row["folder"] for row in csv.DictReader(file) if row["state"] == "finished"}


def _measure_depth(runs: Runs) -> Runs:
    """Evaluate what was guided at Mid2 at the input, and time the steps."""
    from guidance.claims.step_time import step_seconds

    measured = []
    for run in runs.where(loss="EnergyLoss"):
        layer = run.option("attributor.layer")
        later = run.folder / "at_input"
        if layer == "mid2" and not (later / "results.json").is_file():
            checkpoint = run.folder / "checkpoints" / "last.ckpt"
            _run("evaluate.py", f"ckpt_path={checkpoint}", "attributor.layer=input",
                 "trainer.enable_progress_bar=false", f"hydra.run.dir={later}")  # fmt: skip
        timed = run.folder / "step_seconds.json"
        if layer == "input":
            if not timed.is_file():
                write_json(timed, step_seconds(run.config, ("input", "mid2")))
            measured.append((run, json.loads(timed.read_text())))
    again = {run.folder: run for one in {run.folder.parent for run in runs} for run in read_runs(one)}
    times = {run.folder: {f"step_seconds/{k}": v for k, v in found.items()} for run, found in measured}
    return Runs(tuple(_with(again[run.folder], times.get(run.folder, {})) for run in runs))


def _with(run: Run, more: dict[str, float]) -> Run:
    return replace(run, results={**run.results, **more})


def _run(program: str, *arguments: str) -> None:
    command = [sys.executable, str(CONFIG_DIR.parent / program), *arguments]
    print("$", "python", program, *arguments, flush=True)
    if subprocess.run(command, env=dict(os.environ), check=False).returncode:  # noqa: S603 - this project's own program
        raise InputError(f"{program} failed; the same command goes on where it stopped")


if __name__ == "__main__":
    main()
