"""``python -m guidance.replay``: do a training step that was not finite again; see ``--help``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from guidance.command_line import PlainParser, one_line_errors

_DESCRIPTION = """\
Do the training step that a run stopped at, or skipped first, again, and say what is not finite in it.

  python -m guidance.replay outputs/DATE/TIME/failure.pt

The file has the weights before the step, its images and its configuration; the data set is not needed. The
exit status is 0 if the same is not finite as in the run, and 1 if not.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; those of this process if None.

    Returns:
        The exit status.
    """
    with one_line_errors():
        options = _parser().parse_args(arguments)
        from guidance.replay.replay import replay
        from guidance.runs.run import quiet_lightning

        quiet_lightning()
        done = replay(options.failure, options.device, options.trusted)
        failure = done.failure
        print(f"epoch {failure.epoch}, step {failure.step}, {len(failure.names)} images")
        for name, value in done.losses.items():
            print(f"{name.replace('_', ' ')}: {value:g}")
        print(f"not finite: {done.describe()}" if done.findings else done.describe())
        print("the same as in the run" if done.same else "NOT the same as in the run")
        return 0 if done.same else 1


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="python -m guidance.replay",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("failure", metavar="FILE", type=Path, help="failure.pt of a run")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where (default: cpu)")
    parser.add_argument(
        "--trusted",
        metavar="PACKAGES",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        help="packages of your own that the file may name, e.g. my_networks",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
