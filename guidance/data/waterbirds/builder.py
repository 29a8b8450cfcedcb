"""Composing the whole of Waterbirds from CUB-200-2011 and Places365."""

import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from rich.console import Console

from guidance.data.splits import check_fraction
from guidance.data.waterbirds.composition import Composition, compose
from guidance.data.waterbirds.cub import (
    BOXES,
    IMAGES,
    check_files,
    read_boxes,
    read_images,
    read_training,
    segmentation_file,
)
from guidance.data.waterbirds.metadata import PLACES, MetadataRow, write_metadata
from guidance.data.waterbirds.places import LAND_PLACES, WATER_PLACES, list_places
from guidance.data.waterbirds.plan import plan
from guidance.errors import InputError
from guidance.files import write_atomically, write_json
from guidance.progress import progress_over

log = logging.getLogger(__name__)

_RECORD = "build.json"
_AT_ONCE = 16  # images that are handed to a process together


def build_waterbirds(
    cub: str | Path,
    places: str | Path,
    out: str | Path,
    confounder: float = 1.0,
    val_confounder: float = 0.5,
    seed: int = 0,
    workers: int | None = None,
    land_places: Sequence[str] = LAND_PLACES,
    water_places: Sequence[str] = WATER_PLACES,
) -> list[MetadataRow]:
    """Compose the images as Sagawa et al. (2020) do and write the folder that ``data=waterbirds`` reads.

    The same arguments and files give the same folder, whatever the number of processes. A build that was
    interrupted is continued by the same call: ``build.json``, written first, tells what was begun, an image
    that is there is kept, and ``metadata.csv`` is written last. If there are fewer places than birds to lay
    over them, places are used again and a warning says so.

    Args:
        cub: The folder of CUB-200-2011, with ``segmentations`` in it.
        places: The folder of Places365's categories.
        out: The folder to write, new or begun by the same call.
        confounder: The part of the training images of each kind of bird that gets its own background.
        val_confounder: The same of the validation images; of the test images it is 0.5.
        seed: Of all choices.
        workers: Processes; one for each core if None.
        land_places: Categories of Places365 that are land.
        water_places: Categories that are water.

    Returns:
        The rows of ``metadata.csv``.

    Raises:
        InputError: Naming the folder, file or option that is wrong.
    """
    cub, places, out = (Path(path).expanduser() for path in (cub, places, out))
    check_fraction("--confounder", confounder)
    check_fraction("--val-confounder", val_confounder)
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; it must be at least 1")
    categories = [*land_places, *water_places]
    if len(set(categories)) < len(categories):
        raise InputError(
            f"a place stands twice among --land-places and --water-places: {', '.join(categories)}"
        )
    images = read_images(cub)
    boxes = read_boxes(cub, images)
    without = next((name for name in images.values() if name not in boxes), None)
    if without is not None:
        raise InputError(f"{cub / BOXES} has no box of {without}")
    training = read_training(cub, images)
    files = [list_places(places, land_places), list_places(places, water_places)]
    rows = plan(images, training, files, confounder, val_confounder, seed)
    work = [
        Composition(
            bird=cub / "images" / row.file_name,
            segmentation=segmentation_file(cub, row.file_name),
            place=places / row.place_file,
            image=out / row.file_name,
            segmentation_copy=segmentation_file(out, row.file_name),
        )
        for row in rows
    ]
    check_files([item.bird for item in work], "unpack CUB_200_2011.tgz again")
    check_files(
        [item.segmentation for item in work],
        f"CUB's segmentations.tgz, an archive of its own, must be unpacked in {cub}",
    )
    for kind, found in enumerate(files):
        needed = sum(row.place == kind for row in rows)
        if needed > len(found):
            log.warning(
                "%d images need %s for a background, but there are only %d: each is used up to %d times",
                needed, PLACES[kind], len(found), -(-needed // len(found)),
            )  # fmt: skip

    record = {
        "cub": str(cub.resolve()),
        "places": str(places.resolve()),
        "confounder": float(confounder),
        "val_confounder": float(val_confounder),
        "seed": seed,
        "land_places": list(land_places),
        "water_places": list(water_places),
        # Tells a build that was begun from one whose files have changed since.
        "plan": hashlib.sha256(repr(rows).encode()).hexdigest(),
    }
    _begin(out, record)
    _compose_all(work, workers or os.cpu_count() or 1)
    for name in (IMAGES, BOXES):
        write_atomically(out / name, (cub / name).read_bytes())
    write_metadata(out / "metadata.csv", rows)
    return rows


def _begin(out: Path, record: dict[str, Any]) -> None:
    """Write the record of what is built, or check that it is the one already there."""
    path = out / _RECORD
    try:
        if not path.exists():
            out.mkdir(parents=True, exist_ok=True)
            others = [entry.name for entry in out.iterdir() if not entry.name.startswith(_RECORD)]
            if others:
                raise InputError(
                    f"{out} is not empty and was not begun by this command (there is {min(others)}, but no "
                    f"{_RECORD}): give --out a new folder"
                )
            write_json(path, record)
        begun = json.loads(path.read_bytes())
        if not isinstance(begun, dict):
            raise InputError(f"{path} was not written by this command: give --out a new folder")
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"cannot use {path}: {error}. Give --out a new folder") from error
    other = {key: (begun.get(key), value) for key, value in record.items() if begun.get(key) != value}
    if other:
        what = ", ".join(f"{key} was {old}, now it is {new}" for key, (old, new) in other.items())
        raise InputError(f"{out} was begun with other arguments or files ({what}): give --out a new folder")


def _compose_all(work: Sequence[Composition], workers: int) -> None:
    """Compose all images, in this process if one is enough; the first error ends it."""
    # Standard output is for the counts, and a file of messages needs no bar.
    console = Console(stderr=True)
    shown = console.is_terminal
    if workers == 1:
        with progress_over(work, "composing", shown=shown, console=console) as items:
            for item in items:
                compose(item)
        return
    # Not forked: a fork of a process with threads, such as the progress bar's, may hang.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            done = pool.map(compose, work, chunksize=_AT_ONCE)
            with progress_over(done, "composing", len(work), shown, console) as items:
                for _ in items:
                    pass
        except BrokenProcessPool as error:
            raise InputError(
                "a process that composes images was killed, perhaps for lack of memory: run the same command "
                "again, with fewer --workers; it goes on where it was"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
