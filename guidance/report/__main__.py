"""``python -m guidance.report``: did guidance help, and what did it cost; see ``--help``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from guidance.command_line import PlainParser, one_line_errors
from guidance.errors import InputError
from guidance.printable import printable

_DESCRIPTION = """\
Merge the runs of a study: Pareto fronts, hypervolumes, means over seeds, maps. Writes report.html,
report.json, points.csv and summary.csv.

  python -m guidance.report outputs/sweeps/2026-11-25
  python -m guidance.report select outputs/sweeps/2026-11-25 --max-f1-drop 0.01   (what to deploy)

A configuration is all runs that differ in nothing but loss weight, number of epochs and seed, and in what
changes no result (paths, loggers, devices). The baseline of a run is what it started from, or else the
unguided run of the same data, model, attributor and seed, at its best F1 on val.
"""
_SELECT = """\
Print the checkpoint to deploy: the highest EPG on val among those whose F1 on val is at most so much below
the baseline's. Ends with status 1 if there is none.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; those of this process if None.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        if given[:1] == ["select"]:
            return _select(given[1:])
        return _report(given)


def _report(arguments: Sequence[str]) -> int:
    options = _report_parser().parse_args(arguments)
    from guidance.report.report import PAGE, common_folder, make_report

    console = Console()
    output = options.output or common_folder(options.runs) / "report"
    if options.output is None and output.is_symlink():
        raise InputError(f"{output} is a link to another folder; name a folder: --output DIR")
    study, verdicts, summaries = make_report(
        options.runs,
        output,
        group_by=options.group_by,
        max_f1_drop=options.max_f1_drop,
        gallery_images=options.gallery_images,
        gallery_checkpoints=options.gallery_checkpoints,
        gallery_seed=options.gallery_seed,
        data_root=options.data_root,
        trusted=options.trusted,
    )
    if options.wandb:
        from guidance.report.wandb_report import log_report

        log_report(options.wandb, output, study, summaries)
    for verdict in verdicts:
        _say(console, f"{verdict.configuration.name}: {verdict.text}")
    for run in study.unfinished:
        _say(console, f"unfinished: {run.folder}: {run.reason}")
    _say(console, f"report: {(output / PAGE).resolve()}")
    return 0


def _select(arguments: Sequence[str]) -> int:
    options = _select_parser().parse_args(arguments)
    from guidance.report.selection import print_selection, select

    selections = select(
        options.runs, options.max_f1_drop, options.group_by, options.data_root, options.trusted
    )
    print_selection(Console(), selections, options.max_f1_drop)
    return 0 if all(selection.chosen for selection in selections) else 1


def _say(console: Console, text: str) -> None:
    # One line, however long, so that a path in it can be copied.
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _report_parser() -> argparse.ArgumentParser:
    parser = _parser("python -m guidance.report", _DESCRIPTION)
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="where to write (default: report/ in what all RUNS share)"
    )
    parser.add_argument(
        "--gallery-images",
        metavar="N",
        type=int,
        default=4,
        help="test images whose maps are drawn (default: 4)",
    )
    parser.add_argument(
        "--gallery-checkpoints",
        metavar="N",
        type=int,
        default=24,
        help="of each front, at most so many checkpoints have maps (default: 24)",
    )
    parser.add_argument(
        "--gallery-seed", metavar="N", type=int, default=0, help="chooses the images (default: 0)"
    )
    parser.add_argument("--wandb", metavar="PROJECT", help="log tables and pictures to W&B too")
    return parser


def _select_parser() -> argparse.ArgumentParser:
    return _parser("python -m guidance.report select", _SELECT)


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = PlainParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", metavar="RUNS", nargs="+", type=Path, help="a run, a sweep, or a folder of them"
    )
    parser.add_argument(
        "--max-f1-drop",
        metavar="PART",
        type=float,
        default=0.01,
        help="how much F1 on val a checkpoint may lose against its baseline (default: 0.01, one point)",
    )
    parser.add_argument(
        "--group-by",
        metavar="KEYS",
        type=lambda text: [key for key in text.split(",") if key],
        default=[],
        help="what makes a configuration instead, e.g. loss,attributor.layer",
    )
    parser.add_argument(
        "--data-root", metavar="DIR", type=Path, help="where the data set is, if it was moved"
    )
    parser.add_argument(
        "--trusted",
        metavar="PACKAGES",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        help="packages of your own that checkpoints may name, e.g. my_networks",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
