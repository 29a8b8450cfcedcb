"""Which of a folder's images train, validate and test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guidance.data.annotation import Skipped
from guidance.data.folder.files import FileTree
from guidance.data.folder.reasons import commonest_reason
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.split_names import SPLITS, split_of_folders
from guidance.data.splits import check_fraction, seeded_split
from guidance.errors import InputError, unknown_name
from guidance.foreign_text import read_text

SPLIT_BY = ("auto", "lists", "folders", "fraction")

UNLABELLED = "it has no annotation"
"""Why an image is skipped of which no annotation file says anything."""

_LARGEST = 2**28  # bytes of a list of images
_LIST_FOLDERS = ("", "splits/", "ImageSets/Main/")


@dataclass(frozen=True)
class Division:
    """The images of each split.

    Attributes:
        images: By split, sorted, none in two of them; some may have no annotation.
        skipped: Images, and entries of lists, that are in no split.
    """

    images: Mapping[str, Sequence[str]]
    skipped: Sequence[Skipped]


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Refuse what does not divide a whole into the three splits.

    Raises:
        InputError: Naming the option.
    """
    example = "e.g. data.fractions.train=0.7 data.fractions.val=0.15 data.fractions.test=0.15"
    if not isinstance(fractions, Mapping) or set(fractions) != set(SPLITS):
        raise InputError(f"data.fractions is {fractions}; it must give train, val and test, {example}")
    for split in SPLITS:
        check_fraction(f"data.fractions.{split}", fractions[split])
    total = sum(fractions.values())
    if abs(total - 1) > 1e-6:
        raise InputError(f"data.fractions sum to {total:g}; they must sum to 1, {example}")


def divide(
    tree: FileTree, source: AnnotationSource, split_by: str, fractions: Mapping[str, float], seed: int
) -> Division:
    """Divide the images into the three splits.

    Args:
        tree: The files.
        source: Their annotations.
        split_by: One of :data:`SPLIT_BY`; ``auto`` takes the first of the others that the folder has.
        fractions: The part of the labelled images that goes to each split, for ``fraction``.
        seed: Of the choice, for ``fraction``.

    Raises:
        InputError: If a split has no labelled image, or an image is in two lists.
    """
    if split_by not in SPLIT_BY:
        raise unknown_name("data.split_by", split_by, SPLIT_BY)
    check_fractions(fractions)
    if not isinstance(seed, int):
        raise InputError(f"data.split_seed is {seed}; it must be an integer")
    lists = _list_files(tree)
    if split_by == "lists" or (split_by == "auto" and lists):
        division = _by_lists(tree, lists)
    else:
        division = _by_folders(tree, source)
        if split_by == "fraction" or (split_by == "auto" and not any(division.images.values())):
            return _by_fraction(tree, source.images, fractions, seed)
    labelled = set(source.images)
    for split, images in division.images.items():
        if labelled.isdisjoint(images):
            why = commonest_reason([*tree.skipped, *source.skipped, *division.skipped])
            raise InputError(f"{_missing(tree, split, bool(images), lists)}{why}")
    return division


def _missing(tree: FileTree, split: str, unlabelled: bool, lists: Mapping[str, str]) -> str:
    """Say that a split has no labelled image, and what would help."""
    remedy = "or use data.split_by=fraction"
    if unlabelled:
        return f"no image of the split '{split}' under {tree.root} has an annotation: add some, {remedy}"
    if lists:
        folder = next(iter(lists.values())).rpartition("/")[0]
        file = lists.get(split, f"{folder}/{split}.txt".lstrip("/"))
        what = "lists no image that is there: correct it" if split in lists else "is missing: add it"
        return f"no images for the split '{split}': {tree.root / file} {what}, {remedy}"
    return (
        f"no images for the split '{split}' under {tree.root}: put them into a folder named {split}, add "
        f"train.txt, val.txt and test.txt with one image name a line, {remedy}"
    )


def _list_files(tree: FileTree) -> dict[str, str]:
    """Return the list of each split that has one, all from one folder."""
    files = set(tree.others)
    for folder in _LIST_FOLDERS:
        lists = {split: f"{folder}{split}.txt" for split in SPLITS if f"{folder}{split}.txt" in files}
        if lists:
            return lists
    return {}


def _by_lists(tree: FileTree, lists: Mapping[str, str]) -> Division:
    listed_in: dict[str, str] = {}
    skipped = []
    for split, file in lists.items():
        path = tree.root / file
        lines = read_text(path, _LARGEST).splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            image, wrong = tree.find_image(line.strip(), ("", "images", "JPEGImages"), without_suffix=True)
            if image is None:
                skipped.append(Skipped("image", wrong, f"{path}:{number}"))
            elif listed_in.setdefault(image, split) != split:
                raise InputError(
                    f"{tree.root / image} is in both {tree.root / lists[listed_in[image]]} and {path}: an "
                    "image must be in one split"
                )
    return _division(tree, listed_in, skipped, "no list of a split has it")


def _by_folders(tree: FileTree, source: AnnotationSource) -> Division:
    labelled = set(source.images)
    splits = {}
    for image in tree.images:
        told = source.split_of(image) if image in labelled else None
        split = told or split_of_folders(image)
        if split is not None:
            splits[image] = split
    return _division(tree, splits, [], "it is in no folder of a split")


def _by_fraction(
    tree: FileTree, labelled: Sequence[str], fractions: Mapping[str, float], seed: int
) -> Division:
    """Divide the labelled images, whose order is that of their names and not the file system's."""
    train, rest = (part.tolist() for part in seeded_split(len(labelled), fractions["train"], seed))
    held_out = fractions["val"] + fractions["test"]
    chosen = seeded_split(len(rest), fractions["val"] / held_out if held_out > 0 else 0.0, seed)
    val, test = ([rest[i] for i in part.tolist()] for part in chosen)
    splits = {}
    for split, numbers in zip(SPLITS, (train, val, test), strict=True):
        if not numbers:
            raise InputError(
                f"no images for the split '{split}': data.fractions.{split}={fractions[split]} of the "
                f"{len(labelled)} labelled images is none; raise it or add images"
            )
        splits.update(dict.fromkeys((labelled[number] for number in numbers), split))
    return _division(tree, splits, [], UNLABELLED)


def _division(tree: FileTree, splits: Mapping[str, str], skipped: list[Skipped], reason: str) -> Division:
    """Sort the images into their splits and skip those that are in none."""
    images: dict[str, list[str]] = {split: [] for split in SPLITS}
    for image in tree.images:
        if image in splits:
            images[splits[image]].append(image)
        else:
            skipped.append(Skipped("image", reason, str(tree.root / image)))
    return Division(images, skipped)
