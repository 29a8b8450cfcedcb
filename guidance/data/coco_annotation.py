"""Reading an instances file in COCO's JSON."""

import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from guidance.data.annotation import Skipped
from guidance.data.coco_objects import CocoAnnotations, CocoImage, CocoObjects
from guidance.data.coco_segmentation import Segmentation, parse_segmentation
from guidance.data.relative_path import leaves_folder
from guidance.errors import InputError
from guidance.printable import is_name

_LARGEST_FILE = 4 * 10**9  # bytes; the official ones have less than half a gigabyte
_SLOW = 20 * 10**6  # bytes, whose parsing takes a second
_MOST_PIXELS = 178_956_970  # of an image that can be read
_LARGEST_ID = 2**63 - 1
_KEPT = {
    "images", "id", "file_name", "height", "width", "categories", "name",
    "annotations", "image_id", "category_id", "bbox", "iscrowd", "segmentation", "size", "counts",
}  # fmt: skip
_EXPECTED = 'an instances file of COCO\'s has the lists "images", "annotations" and "categories"'
_NO_BOX = (math.nan,) * 4


def read_coco(path: Path) -> CocoAnnotations:
    """Read and check an instances file.

    What would leave open which image, class or object is meant is an error. What spoils no more than one
    object is skipped: an object of an image that is not listed, one with the id of an earlier one, a ``bbox``
    that is not four finite numbers (the label stays), a segmentation that cannot be drawn (label and box
    stay). An image that is listed twice in the same words counts once; two categories of one name are one.

    Args:
        path: The file.

    Returns:
        The file's content; what is skipped is among its ``skipped`` where it belongs to no image, and comes
        with the image's objects where it does.

    Raises:
        InputError: Naming the file and the entry, if the file is larger than 4 GB or no JSON, a list or a key
            is missing, a value has another type, an image's or category's id or a file name is there twice, a
            file name leads out of the folder, or an object's category is not listed.
    """
    content = _parse(path)
    categories, numbers = _read_categories(content, path)
    skipped: list[Skipped] = []
    images = _read_images(content, path, skipped)
    objects = _read_objects(content, path, images, numbers, skipped)
    return CocoAnnotations(path, categories, images, objects, skipped)


def _parse(path: Path) -> dict[str, Any]:
    """Return what the file holds, less the keys that are not read."""
    columns = (SpinnerColumn(), "{task.description}", TimeElapsedColumn())
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ValueError(f"it has {size / 1e9:.1f} GB, and at most {_LARGEST_FILE / 1e9:g} GB are read")
        with Progress(*columns, transient=True, disable=size <= _SLOW) as progress:
            progress.add_task(f"reading {escape(path.name)}", total=None)
            content = json.loads(path.read_bytes(), object_hook=_compact)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, RecursionError):
            reason = "its lists are nested too deeply"
        else:
            reason = getattr(error, "strerror", None) or str(error) or "it does not fit into memory"
        raise InputError(f"cannot read the annotations {path}: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object; {_EXPECTED}")
    return content


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop keys and pack outlines while the parser is at it: a fraction of the memory."""
    kept = {key: value for key, value in entry.items() if key in _KEPT}
    if "segmentation" in kept:
        kept["segmentation"] = parse_segmentation(kept["segmentation"])
    return kept


def _read_categories(content: dict[str, Any], path: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the names, and the number in them of each id."""
    names: dict[int, str] = {}
    for place, entry in _entries(content, "categories", path):
        number = _integer(entry, "id", place, 0)
        if number in names:
            raise InputError(f"{place}: another category has the id {number}; every id must be there once")
        names[number] = _text(entry, "name", place)
    ids = sorted(names)
    ordered = list(dict.fromkeys(names[number] for number in ids))
    return tuple(ordered), {number: ordered.index(names[number]) for number in ids}


def _read_images(content: dict[str, Any], path: Path, skipped: list[Skipped]) -> list[CocoImage]:
    """Return the images in the order of their ids."""
    images: dict[int, CocoImage] = {}
    owners: dict[str, int] = {}
    for place, entry in _entries(content, "images", path):
        number = _integer(entry, "id", place, 0)
        name = _text(entry, "file_name", place)
        if leaves_folder(name):
            raise InputError(
                f"{place}: the file_name '{name}' leads out of the folder of images; it must not"
            )
        height, width = (_integer(entry, side, place, 1) for side in ("height", "width"))
        if height * width > _MOST_PIXELS:
            raise InputError(f"{place} has {width} x {height} pixels; at most {_MOST_PIXELS:,} can be read")
        image = CocoImage(number, name, (height, width))
        if images.get(number) == image:
            skipped.append(Skipped("image", "it is listed twice", place))
            continue
        if number in images:
            raise InputError(f"{place}: another image has the id {number}; every id must be there once")
        if name in owners:
            raise InputError(
                f"{place}: the file_name '{name}' is that of the image with the id {owners[name]} too; "
                "every image must be listed once"
            )
        images[number] = image
        owners[name] = number
    return [images[number] for number in sorted(images)]


def _read_objects(
    content: dict[str, Any],
    path: Path,
    images: Sequence[CocoImage],
    categories: dict[int, int],
    skipped: list[Skipped],
) -> CocoObjects:
    positions = {image.id: position for position, image in enumerate(images)}
    objects = CocoObjects()
    seen: set[int] = set()
    for place, entry in _entries(content, "annotations", path):
        number = _integer(entry, "id", place, 0)
        where = f"{path}: annotation {number}"
        image = positions.get(_integer(entry, "image_id", where, 0))
        category = _integer(entry, "category_id", where, 0)
        if category not in categories:
            raise InputError(
                f"{where} has the category_id {category}, which is not among the file's categories; "
                'every category must be listed under "categories"'
            )
        crowd = entry.get("iscrowd", 0)
        if not isinstance(crowd, int) or crowd not in (0, 1):
            raise InputError(f'{where}: "iscrowd" is {reprlib.repr(crowd)}; it must be 0 or 1')
        if image is None:
            skipped.append(Skipped("object", "its image is not listed", where))
            continue
        if number in seen:
            skipped.append(Skipped("object", "an earlier object has its id", where))
            continue
        seen.add(number)
        outline: Segmentation = entry.get("segmentation", Segmentation())
        if outline.size not in (None, images[image].size):
            outline = Segmentation(problems=("its run lengths are for an image of another size",))
        objects.ids.append(number)
        objects.images.append(image)
        objects.categories.append(categories[category])
        objects.boxes.extend(_corners(entry.get("bbox")))
        objects.crowds.append(crowd)
        objects.segmentations.append(outline)
    return objects


def _corners(box: Any) -> tuple[float, ...]:
    """Return xyxy of x, y, width, height; nan where they are not four finite numbers."""
    if not isinstance(box, list) or len(box) != 4 or not {int, float}.issuperset(map(type, box)):
        return _NO_BOX
    try:
        x, y, width, height = map(float, box)
    except OverflowError:  # an integer of hundreds of digits
        return _NO_BOX
    corners = (x, y, x + width, y + height)
    # Infinite as float32 already; a nan compares as False.
    return corners if all(abs(value) < 1e38 for value in corners) else _NO_BOX


def _entries(content: dict[str, Any], key: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the entries of a list, each with its place in the file; the list is used up."""
    entries = content.pop(key, None)
    if not isinstance(entries, list):
        raise InputError(f'{path} has no list "{key}"; {_EXPECTED}')
    for number, entry in enumerate(entries):
        place = f"{path}: {key}[{number}]"
        if not isinstance(entry, dict):
            raise InputError(f"{place} is {reprlib.repr(entry)}; it must be a JSON object")
        entries[number] = None
        yield place, entry


def _integer(entry: dict[str, Any], key: str, place: str, least: int) -> int:
    value = entry.get(key)
    if type(value) is not int or not least <= value <= _LARGEST_ID:  # a bool is none
        found = f'"{key}" is {reprlib.repr(value)}' if key in entry else f'"{key}" is missing'
        raise InputError(f"{place}: {found}; it must be an integer of at least {least}")
    return value


def _text(entry: dict[str, Any], key: str, place: str) -> str:
    value = entry.get(key)
    # Control characters and halves of characters (JSON can express both) can be neither printed nor opened.
    if not isinstance(value, str) or not is_name(value):
        found = f'"{key}" is {reprlib.repr(value)}' if key in entry else f'"{key}" is missing'
        raise InputError(f"{place}: {found}; it must be a text that can be printed")
    return value
