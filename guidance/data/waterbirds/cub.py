"""Reading the annotation files of CUB-200-2011, the birds that Waterbirds is composed of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor

from guidance.data.boxes import Box
from guidance.data.image_file import read_image
from guidance.data.relative_path import leaves_folder
from guidance.errors import InputError
from guidance.foreign_text import read_text

IMAGES = "images.txt"
BOXES = "bounding_boxes.txt"
TRAINING = "train_test_split.txt"


@dataclass(frozen=True)
class LocatedBox:
    """A bird's box and where it is written.

    Attributes:
        box: xyxy, half-open, pixels of the image in its file; unchecked.
        where: The file and line.
    """

    box: Box
    where: str


def relative_path(text: str, where: str) -> str:
    """Check that a file name leads to a file below its folder, whatever the folder is.

    Returns:
        The same path in its shortest form: ``a/b.jpg`` for ``./a//b.jpg``.

    Raises:
        InputError: With ``where``, if it is empty, absolute or leads upwards.
    """
    path = PurePosixPath(text)
    if leaves_folder(text) or not path.parts or "\0" in text:
        raise InputError(f"{where}: {text!r} is no file name below the images' folder, such as 'a/b.jpg'")
    return str(path)


def read_images(cub: Path) -> dict[str, str]:
    """Read ``images.txt``.

    Args:
        cub: CUB's folder.

    Returns:
        The file name of each image number, in the file's order.

    Raises:
        InputError: Naming file and line, if a line is no number and name, or one of them stands there twice.
    """
    images: dict[str, str] = {}
    lines: dict[str, str] = {}
    for fields, where in _lines(cub / IMAGES, 2, "an image number and a file name"):
        number, name = fields[0], relative_path(fields[1], where)
        if number in images:
            raise InputError(f"{where}: the image number {number} stands there twice")
        if name in lines:
            raise InputError(f"{where}: {name} is the image of {lines[name]} too")
        images[number] = name
        lines[name] = where
    if not images:
        raise InputError(f"{cub / IMAGES} lists no image; it needs an image number and a file name a line")
    return images


def read_boxes(cub: Path, images: Mapping[str, str]) -> dict[str, LocatedBox]:
    """Read ``bounding_boxes.txt``, whose boxes are x, y, width and height in the image's own pixels.

    Args:
        cub: CUB's folder.
        images: Of :func:`read_images`.

    Returns:
        The box of each file name; not every image need have one. A coordinate may be nan.

    Raises:
        InputError: Naming file and line, if a line is no image number and four numbers, or its image is not
            in ``images`` or has a box already.
    """
    boxes: dict[str, LocatedBox] = {}
    for fields, where in _lines(cub / BOXES, 5, "an image number, x, y, width and height"):
        name = _image(fields[0], images, where)
        if name in boxes:
            raise InputError(f"{where}: image {fields[0]} has a second box; each bird has one")
        try:
            x, y, width, height = (float(text) for text in fields[1:])
        except ValueError as error:
            raise InputError(
                f"{where}: '{' '.join(fields[1:])}' must be four numbers: x, y, width and height"
            ) from error
        boxes[name] = LocatedBox((x, y, x + width, y + height), where)
    return boxes


def read_training(cub: Path, images: Mapping[str, str]) -> dict[str, bool]:
    """Read ``train_test_split.txt``.

    Args:
        cub: CUB's folder.
        images: Of :func:`read_images`.

    Returns:
        Whether each file name is in the official training set; for all images.

    Raises:
        InputError: Naming file and line, if a line is no image number and 0 or 1, or an image is missing.
    """
    training: dict[str, bool] = {}
    for fields, where in _lines(cub / TRAINING, 2, "an image number and 0 or 1"):
        name = _image(fields[0], images, where)
        if fields[1] not in ("0", "1"):
            raise InputError(f"{where}: '{fields[1]}' must be 1 for training or 0 for test")
        training[name] = fields[1] == "1"
    missing = next((number for number, name in images.items() if name not in training), None)
    if missing is not None:
        raise InputError(f"{cub / TRAINING} does not say in which split image {missing} of {IMAGES} is")
    return training


def segmentation_file(cub: Path, name: str) -> Path:
    """Return where the segmentation of an image lies, as CUB's separate archive unpacks."""
    return cub / "segmentations" / PurePosixPath(name).with_suffix(".png")


def check_files(paths: list[Path], remedy: str) -> None:
    """Refuse a data set of which files are missing.

    Raises:
        InputError: Naming the first one, and how many there are.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} files are missing, the first: {missing[0]}; {remedy}"
        )


def read_segmentation(path: Path, size: tuple[int, int]) -> Tensor:
    """Read a segmentation: 255 is the bird, 0 the rest, between them lies how many annotators saw the bird.

    Args:
        path: A PNG file of grey values; of a coloured one, as a few are, the red channel counts.
        size: (height, width) that it must have.

    Returns:
        uint8 [H, W].

    Raises:
        InputError: Naming the file, if it cannot be decoded or has another size.
    """
    pixels = read_image(path)[0]
    if tuple(pixels.shape) != size:
        raise InputError(
            f"{path} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its image is {size[1]} x {size[0]}"
        )
    return pixels


def _lines(path: Path, count: int, content: str) -> Iterator[tuple[list[str], str]]:
    """Yield the fields of each line that is not blank, and where the line is."""
    try:
        text = read_text(path)
    except InputError as error:
        raise InputError(f"{error}. It must be in the folder of CUB-200-2011 beside {IMAGES}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        # File names may hold spaces; they come last.
        fields = line.strip().split(maxsplit=count - 1)
        if fields and len(fields) != count:
            raise InputError(f"{path}:{number}: a line must be {content}, separated by spaces")
        if fields:
            yield fields, f"{path}:{number}"


def _image(number: str, images: Mapping[str, str], where: str) -> str:
    if number not in images:
        raise InputError(f"{where}: there is no image {number} in {IMAGES}")
    return images[number]
