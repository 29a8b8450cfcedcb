"""What keeps training from starting, and what a person should know before it does."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from guidance.data.batch import Target
from guidance.data.check.reading import Reading
from guidance.data.check.summary import SkippedCount, SplitSummary, counted
from guidance.data.image_dataset import ImageDataset

_MOSTLY = 0.9
_NAMES_SHOWN = 10
_MUCH_SKIPPED = 0.1


def no_label() -> str:
    """Return what is wrong with a training split that shows no class."""
    return "no training image carries a label: there is nothing to learn; check the data set's annotations"


def not_guidable(target: Target, fraction_annotated: float) -> str:
    """Return what is wrong with a training split that cannot guide.

    Args:
        target: What guidance aims at.
        fraction_annotated: Of the training images.
    """
    some = "" if fraction_annotated == 1 else f" among the {fraction_annotated:.2%} that are annotated"
    remedies = ["use loss=none"]
    if fraction_annotated < 1:
        remedies.append("raise data.annotated_fraction")
    if target == "mask":
        remedies.append("use data.target=box")
    what = "box" if target == "box" else "segmentation mask"
    return (
        f"no training image{some} has a {what}: a localization loss would do nothing; {' or '.join(remedies)}"
    )


def absent_classes(split: str, images_per_class: Mapping[str, int]) -> str:
    """Return a warning that names the classes of which a split has no image; "" if it has some of each."""
    absent = [name for name, count in images_per_class.items() if count == 0]
    if not absent:
        return ""
    names = ", ".join(absent[:_NAMES_SHOWN])
    more = f" and {len(absent) - _NAMES_SHOWN} more" if len(absent) > _NAMES_SHOWN else ""
    return f"{split}: no image shows {len(absent)} of {len(images_per_class)} classes: {names}{more}"


def no_box(split: str, boxes: int) -> str:
    """Return a warning that a split's metrics of attribution are not defined; "" if they are."""
    return "" if boxes else f"{split}: no image has a box, so EPG and IoU cannot be measured there"


def find_problems(
    unbuilt: Mapping[str, str],
    summaries: Mapping[str, SplitSummary],
    readings: Mapping[str, Sequence[Reading]],
) -> list[str]:
    """Return what keeps training from starting, one sentence each.

    Args:
        unbuilt: Why a split could not be made.
        summaries: Of the other splits.
        readings: Of those, if their images were read.
    """
    splits_of: dict[str, list[str]] = {}
    for split, message in unbuilt.items():
        splits_of.setdefault(message, []).append(split)
    problems = [f"{', '.join(splits)}: {message}" for message, splits in splits_of.items()]
    train = summaries.get("train")
    if train is not None:
        if not any(train.images_per_class.values()):
            problems.append(no_label())
        if train.guidable_images == 0:
            problems.append(not_guidable(train.target, train.annotated_images / train.images))
    for split, found in readings.items():
        broken = [reading.problem for reading in found if reading.problem]
        problems += [f"{split}: {problem}" for problem in broken]
    return problems


def find_warnings(
    summaries: Mapping[str, SplitSummary],
    datasets: Mapping[str, ImageDataset],
    readings: Mapping[str, Sequence[Reading]],
) -> list[str]:
    """Return what looks wrong but does not keep training from starting, one sentence each.

    Args:
        summaries: Of each split.
        datasets: The splits.
        readings: Of their images, if they were read.
    """
    warnings = [absent_classes(split, summary.images_per_class) for split, summary in summaries.items()]
    for split, summary in summaries.items():
        if split != "train":
            warnings.append(no_box(split, summary.boxes))
        if summary.boxes and summary.whole_image_boxes > _MOSTLY * summary.boxes:
            warnings.append(
                f"{split}: {summary.whole_image_boxes:,} of {counted(summary.boxes, 'box')} cover the whole "
                "image, so they say nothing about where the evidence is"
            )
    warnings += _skipped_much(summaries)
    warnings += _shared_images(datasets, readings)
    return [warning for warning in warnings if warning]


def _skipped_much(summaries: Mapping[str, SplitSummary]) -> list[str]:
    parts: dict[tuple[str, str], list[str]] = {}
    for split, summary in summaries.items():
        for skipped in summary.skipped:
            what, total = _all_of_its_kind(summary, skipped)
            if skipped.count > _MUCH_SKIPPED * total:
                parts.setdefault((skipped.what, skipped.reason), []).append(
                    f"{split}: {skipped.count:,} of {counted(total, what)}"
                )
    return [
        f"{', '.join(found)} {'changed' if what == 'part of a box' else 'left out'}: {reason}"
        for (what, reason), found in parts.items()
    ]


def _all_of_its_kind(summary: SplitSummary, skipped: SkippedCount) -> tuple[str, int]:
    """Return what to compare a number of skipped things with: all such things, kept or not."""
    if skipped.what == "part of a box":
        return "box", summary.boxes
    same = sum(other.count for other in summary.skipped if other.what == skipped.what)
    return skipped.what, same + (summary.images if skipped.what == "image" else summary.boxes)


def _shared_images(
    datasets: Mapping[str, ImageDataset], readings: Mapping[str, Sequence[Reading]]
) -> list[str]:
    """Name the splits that have images in common: one file, or the same pixels where they were read."""
    marks: dict[str, dict[str, int]] = {}
    for split, dataset in datasets.items():
        names = [dataset.name(index) for index in range(len(dataset))]
        digests = [reading.digest for reading in readings.get(split, ())]
        # A name has no line break, so that it is never taken for a digest.
        marks[split] = _numbered(names) | _numbered(f"\n{digest}" if digest else "" for digest in digests)
    warnings = []
    for one, other in combinations(marks, 2):
        shared = sorted({number for mark, number in marks[other].items() if mark in marks[one]})
        if shared:
            name = Path(datasets[other].name(shared[0])).name
            warnings.append(
                f"{counted(len(shared), 'image')} of {other} {'is' if len(shared) == 1 else 'are'} in {one} "
                f"too, the first: {name}; what is measured there would be too good"
            )
    return warnings


def _numbered(marks: Iterable[str]) -> dict[str, int]:
    """Return the number of the image with each mark; none for an image without one."""
    return {mark: number for number, mark in enumerate(marks) if mark}
