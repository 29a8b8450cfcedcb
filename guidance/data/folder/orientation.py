"""Whether boxes were drawn on an image as cameras mean it to be seen, or on its pixels as they are stored."""

from pathlib import Path

from guidance.data.image_file import image_size


def fitting_size(path: Path, stated: tuple[int, int] | None) -> tuple[tuple[int, int] | None, bool]:
    """Compare an image with the size that its annotation states; only the file's header is read.

    Args:
        path: The image.
        stated: (height, width) according to the annotation; None if it states none.

    Returns:
        (height, width) of the image as it is to be read, None if the stated size fits neither way; and
        whether it is to be read with its EXIF orientation applied, which it is wherever that fits.

    Raises:
        InputError: Naming the file, if its header cannot be read.
    """
    shown = image_size(path, exif=True)
    if stated is None or stated == shown:
        return shown, True
    stored = image_size(path, exif=False)
    return (stored, False) if stated == stored else (None, True)
