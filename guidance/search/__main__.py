"""``python -m guidance.search trials=20 loss=energy,l1 'loss.weight=interval(0.1,3)'``; see ``--help``."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table

from guidance.command_line import CONFIG_DIR, check_overrides, one_line_errors
from guidance.errors import InputError
from guidance.run_directory import fingerprint

_HELP = """\
Search for the settings of a training that no others beat, in several metrics at once.

python -m guidance.search trials=N [objectives=val/f1_micro,val/epg] [jobs=1] [dir=FOLDER] [key=value ...]

  trials       how many trainings there are to be in all; the same command with more goes on with the search
  objectives   keys of results.json, all as large as possible
  jobs         trainings at once, among which the cores are divided
  dir          where to write; by default outputs/search/<digits>, which stand for the command

All else is an override of train.py, and some vary:
  loss=energy,l1                                one of these
  'loss.weight=tag(log,interval(0.01,3))'       a number, evenly on a logarithmic scale
  'optimizer.lr=interval(1e-4,1e-3)'            a number, evenly
  'model.width=int(interval(8,32))'             an integer

Every trial is a run with its own folder. A search that was stopped goes on by the same command.
"""
_OWN = {"trials": "", "objectives": "val/f1_micro,val/epg", "jobs": "1", "dir": ""}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Without the program's name; those of this process if None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or any(one in ("-h", "--help") for one in given):
        print(_HELP, end="")
        return
    with one_line_errors():
        search(given)


def search(arguments: Sequence[str]) -> None:
    """Search, and print what was found.

    Raises:
        InputError: If an option or override is wrong, or another process searches in the folder.
    """
    try:
        from guidance.search import Search, parse_space
    except ModuleNotFoundError as error:
        raise InputError(f'{error}: pip install "model-guidance[search]"') from error
    own = _OWN | dict(one.split("=", 1) for one in arguments if one.partition("=")[0] in _OWN)
    overrides = [one for one in arguments if one.partition("=")[0] not in _OWN]
    trials, jobs = (_positive(name, own[name]) for name in ("trials", "jobs"))
    space = parse_space(overrides)
    check_overrides("train", space.example())
    objectives = own["objectives"].strip("[]").split(",")
    runs = next((o.partition("=")[2] for o in overrides if o.startswith("paths.runs_dir=")), "outputs")
    folder = Path(own["dir"] or Path(runs) / "search" / fingerprint([sorted(overrides), objectives]))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "search.lock", timeout=0):
            found = Search(folder, space, objectives, lambda o, where: train(o, where, jobs))
            try:
                found.optimize(trials, jobs)
            finally:
                found.write()
                show(found)
    except Timeout as error:
        raise InputError(f"another process searches in {folder}") from error


def train(overrides: Sequence[str], folder: Path, jobs: int) -> str | None:
    """Run or continue a training in a process of its own; return why it failed, or None."""
    last = folder / "checkpoints" / "last.ckpt"
    resume = [f"ckpt_path={last}"] if last.is_file() else []
    threads = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // jobs, 1))} | dict(os.environ)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("w") as output:
        ended = subprocess.run(  # noqa: S603 - this project's own program
            [
                sys.executable,
                str(CONFIG_DIR.parent / "train.py"),
                *overrides,
                f"hydra.run.dir={folder}",
                *resume,
            ],
            env=threads,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode == 0:
        return None
    lines = (folder / "output.txt").read_text(errors="replace").splitlines()
    said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (
        (said or lines or ["no output"])[-1]
        if ended.returncode > 0
        else f"killed by signal {-ended.returncode}"
    )


def show(search: "Search") -> None:  # type: ignore[name-defined]  # noqa: F821 - optuna is an extra
    """Print the trials that no other beats and draw all of them."""
    from guidance.figures import draw_front
    from guidance.pareto import pareto_front

    done = [trial for trial in search.study.trials if trial.values]
    if not done:
        return
    points = torch.tensor([trial.values for trial in done], dtype=torch.float64)
    front = pareto_front(points)
    table = Table(title=f"{int(front.sum())} of {len(done)} trials that no other beats, in percent")
    for name in ("folder", *search.space.varied, *search.objectives):
        table.add_column(name)
    for index in front.nonzero().flatten().tolist():
        trial = done[index]
        chosen = [
            o.partition("=")[2] for o in search.space.overrides(trial.params)[len(search.space.fixed) :]
        ]
        table.add_row(
            search.trial_folder(trial).name, *chosen, *(f"{100 * value:.1f}" for value in trial.values)
        )
    Console().print(table)
    if len(search.objectives) > 1:
        draw_front(
            search.folder / "front.png",
            points,
            front,
            search.objectives,
            labels=[str(trial.number) for trial in done],
            title="Trials, with those that no other beats",
        )
    print(f"written: {search.folder}")


def _positive(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{name}={text or '???'}: it must be a whole number from 1 on (see --help)")
    return int(text)


if __name__ == "__main__":
    main()
