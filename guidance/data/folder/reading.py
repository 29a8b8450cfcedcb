"""From annotation files to the annotations of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guidance.data.annotation import Annotation, Skipped
from guidance.data.folder.orientation import fitting_size
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.splits import UNLABELLED
from guidance.data.labelled_object import LabelledObject, annotate
from guidance.errors import InputError
from guidance.progress import progress_over

_SLOW = 2000  # reading more files than this takes seconds on a cold disk


@dataclass(frozen=True)
class UsableImage:
    """An image of a split.

    Attributes:
        path: Relative to the root.
        exif: Whether it is to be read with its EXIF orientation applied.
        annotation: In the pixels of the image as it is to be read.
    """

    path: str
    exif: bool
    annotation: Annotation


def read_records(
    source: AnnotationSource, images: Mapping[str, Sequence[str]], split: str, description: str
) -> tuple[dict[str, ImageRecord | Skipped], set[str]]:
    """Read what the annotation files say; of other splits only where class names occur with objects alone.

    Args:
        source: The annotations.
        images: Of each split.
        split: The one that is wanted.
        description: For the progress bar.

    Returns:
        What is said about those images of the split that have an annotation, and the classes of all objects
        that were read.
    """
    wanted = set(images[split])
    read = wanted.union(*images.values()) if source.classes is None else wanted
    reading = [image for image in source.images if image in read]
    records: dict[str, ImageRecord | Skipped] = {}
    names: set[str] = set()
    with progress_over(reading, description, shown=len(reading) > _SLOW) as shown:
        for image in shown:
            record = source.read(image)
            if isinstance(record, ImageRecord):
                names.update(item.name for item in record.objects)
            if image in wanted:
                records[image] = record
    return records, names


def usable_images(
    root: Path,
    images: Sequence[str],
    records: Mapping[str, ImageRecord | Skipped],
    class_numbers: Mapping[str, int],
    multi_label: bool,
    description: str,
) -> tuple[list[UsableImage], list[Skipped]]:
    """Look at each image's header and make its annotation.

    Args:
        root: What the images' paths are relative to.
        images: Of one split.
        records: What is said about them, if anything.
        class_numbers: The label number of each class; objects of other classes are skipped.
        multi_label: If False, images that do not show exactly one class are skipped.
        description: For the progress bar.

    Returns:
        The images that can be used, and what is skipped.
    """
    usable: list[UsableImage] = []
    skipped: list[Skipped] = []
    with progress_over(images, description, shown=len(images) > _SLOW) as shown:
        for image in shown:
            path = root / image
            record = records.get(image, Skipped("image", UNLABELLED, str(path)))
            if isinstance(record, Skipped):
                skipped.append(record)
                continue
            size, exif, wrong = _size(path, record)
            if size is None:
                skipped.append(Skipped("image", wrong, str(path)))
                continue
            objects, others = _of_classes(record.in_pixels(size), class_numbers)
            annotation, wrong_boxes = annotate(objects, size, class_numbers)
            count = int(annotation.labels.sum())
            if not multi_label and count != 1:
                wrong = (
                    f"it shows {'several classes' if count else 'no class'}; data.multi_label=false needs one"
                )
                skipped.append(Skipped("image", wrong, str(path)))
                continue
            skipped += [*record.skipped, *others, *wrong_boxes]
            usable.append(UsableImage(image, exif, annotation))
    return usable, skipped


def _size(path: Path, record: ImageRecord) -> tuple[tuple[int, int] | None, bool, str]:
    try:
        size, exif = fitting_size(path, record.size)
    except InputError:
        return None, True, "its file cannot be read"
    return size, exif, "" if size else "its annotation states another size than it has"


def _of_classes(
    objects: Sequence[LabelledObject], class_numbers: Mapping[str, int]
) -> tuple[list[LabelledObject], list[Skipped]]:
    wanted = [item for item in objects if item.name in class_numbers]
    others = [
        Skipped("object", f"its class '{item.name}' is not in data.classes", item.where)
        for item in objects
        if item.name not in class_numbers
    ]
    return wanted, others
