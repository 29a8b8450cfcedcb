"""``python -m guidance.data.waterbirds``: compose Waterbirds from CUB-200-2011 and Places365."""

import argparse
from collections import Counter
from collections.abc import Sequence

from guidance.command_line import PlainParser, one_line_errors
from guidance.data.waterbirds.builder import build_waterbirds
from guidance.data.waterbirds.metadata import GROUPS, SPLITS, MetadataRow
from guidance.data.waterbirds.places import LAND_PLACES, WATER_PLACES

_DESCRIPTION = """\
Compose Waterbirds (Sagawa et al. 2020): the birds of CUB-200-2011, cut out and laid over places of Places365.

The result is for `python train.py data=waterbirds data.root=OUT`. With --confounder 1.0 it is Waterbirds-100,
with 0.95 Waterbirds-95. An interrupted build is continued by the same command.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Without the program's name; those of this process if None.
    """
    with one_line_errors():
        options = _parser().parse_args(arguments)
        print(counts(build_waterbirds(**vars(options))))


def counts(rows: Sequence[MetadataRow]) -> str:
    """Return a table of the images in each group and split."""
    found = Counter((row.group, row.split) for row in rows)
    lines = [f"{'':20}" + "".join(f"{split:>8}" for split in SPLITS)]
    for group, name in enumerate(GROUPS):
        lines.append(f"{name:20}" + "".join(f"{found[group, split]:8}" for split in range(len(SPLITS))))
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="python -m guidance.data.waterbirds",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--cub",
        metavar="DIR",
        required=True,
        help="CUB-200-2011: images.txt, bounding_boxes.txt, train_test_split.txt, images, and the "
        "segmentations of the archive segmentations.tgz",
    )
    parser.add_argument(
        "--places",
        metavar="DIR",
        required=True,
        help="Places365's training images: the folder that holds o/ocean (or ocean) and the other places",
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder to write: new, or of this command"
    )
    parser.add_argument(
        "--confounder",
        metavar="PART",
        type=float,
        default=1.0,
        help="part of the training images of each kind of bird that gets its own background (default: 1.0)",
    )
    parser.add_argument(
        "--val-confounder",
        metavar="PART",
        type=float,
        default=0.5,
        help="the same of the validation images; of the test images it is 0.5 (default: 0.5, as released)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all choices (default: 0)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes (default: one for each core)")
    for kind, default in (("land", LAND_PLACES), ("water", WATER_PLACES)):
        parser.add_argument(
            f"--{kind}-places",
            metavar="PLACE",
            nargs="+",
            default=list(default),
            help=f"categories of Places365 for {kind} (default: {' '.join(default)})",
        )
    return parser


if __name__ == "__main__":
    main()
