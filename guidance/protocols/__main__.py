"""``python -m guidance.protocols``: the results of several protocols on one page; see ``--help``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from guidance.command_line import PlainParser, one_line_errors
from guidance.errors import InputError

_DESCRIPTION = """\
Put the results of several protocols onto one page, in the order given.

  python evaluate.py protocol=difull ckpt_path=FILE hydra.run.dir=outputs/difull
  python evaluate.py protocol=deletion ckpt_path=FILE hydra.run.dir=outputs/deletion
  python -m guidance.protocols outputs/difull outputs/deletion
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
        from guidance.protocols.page import protocol_page

        protocol_page(found_folders(options.folders)).write(options.output)
        print(f"page: {options.output.resolve()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="python -m guidance.protocols",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="+", type=Path, help="of a protocol, or a folder of such"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("protocols.html"),
        help="the page (default: protocols.html)",
    )
    return parser


def found_folders(given: Sequence[Path]) -> list[Path]:
    """Return output folders: those that are given, and those that lie in one that is none itself.

    Raises:
        InputError: If a folder does not exist.
    """
    found: list[Path] = []
    for folder in given:
        if not folder.is_dir():
            raise InputError(f"no folder {folder}")
        inside = [] if (folder / "results.json").is_file() else sorted(folder.glob("*/results.json"))
        found += [path.parent for path in inside] or [folder]
    return found


if __name__ == "__main__":
    sys.exit(main())
