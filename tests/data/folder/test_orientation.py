from pathlib import Path

import pytest
from PIL import Image

from guidance.data.folder.orientation import fitting_size
from guidance.errors import InputError


def write(folder: Path, orientation: int | None) -> Path:
    """Write an image whose stored pixels are 20 wide and 10 high."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (20, 10)).save(folder / "a.jpg", exif=exif)
    return folder / "a.jpg"


@pytest.mark.parametrize(
    ("orientation", "stated", "expected"),
    [
        (None, None, ((10, 20), True)),
        (None, (10, 20), ((10, 20), True)),
        (None, (20, 10), (None, True)),
        (3, (10, 20), ((10, 20), True)),  # upside down: both sizes are the same
        (6, None, ((20, 10), True)),
        (6, (20, 10), ((20, 10), True)),
        (6, (10, 20), ((10, 20), False)),
        (6, (40, 20), (None, True)),
    ],
)
def test_what_the_annotation_fits(
    tmp_path: Path,
    orientation: int | None,
    stated: tuple[int, int] | None,
    expected: tuple[tuple[int, int] | None, bool],
) -> None:
    assert fitting_size(write(tmp_path, orientation), stated) == expected


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff"])
def test_an_unreadable_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg"):
        fitting_size(tmp_path / "a.jpg", None)
