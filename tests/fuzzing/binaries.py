"""Files that are not text: images and archives."""

import io
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

from guidance.data.archive import extract
from guidance.data.folder.orientation import fitting_size
from guidance.data.image_file import image_size, read_image, read_label_image
from tests.fuzzing.target import Target, result_or_refusal

MOST_PIXELS = 2**20  # of a damaged image that is decoded here
MOST_BYTES = 2**20


def image(content: bytes, folder: Path) -> None:
    """The size from the header is that of the image."""
    path = folder / "image"
    path.write_bytes(content)
    size = result_or_refusal(lambda: image_size(path))
    shown = result_or_refusal(lambda: image_size(path, exif=True))
    result_or_refusal(lambda: fitting_size(path, (7, 9)))
    if size is None or shown is None or size[0] * size[1] > MOST_PIXELS:
        return
    assert sorted(size) == sorted(shown)
    for exif, expected in ((False, size), (True, shown)):
        found = result_or_refusal(lambda e=expected, x=exif: read_image(path, e, exif=x))  # type: ignore[misc]
        assert found is None or tuple(found.shape) == (3, *expected)
    result_or_refusal(lambda: read_image(path, least=2))
    labels = result_or_refusal(lambda: read_label_image(path, size))
    assert labels is None or tuple(labels.shape) == size


def archive(content: bytes, folder: Path) -> None:
    """Nothing is written outside the folder, whatever the archive is called."""
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        path = folder / name
        path.write_bytes(content)
        result_or_refusal(lambda path=path: extract(path, folder / "parent" / "out"))  # type: ignore[misc]
        path.unlink()
    assert {entry.name for entry in folder.iterdir()} <= {"parent"}
    assert {entry.name for entry in (folder / "parent").iterdir()} == {"out"}
    assert not any(entry.is_symlink() for entry in folder.rglob("*"))


def encoded_image(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    picture = Image.new("RGB", (9, 7), "red")
    picture.paste((0, 255, 0), (2, 1, 6, 5))
    picture.convert(mode).save(file, kind, **options)
    return file.getvalue()


def _with_orientation(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded_image("JPEG", exif=exif)


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.txt", b"hello" * 9)
        packed.writestr("b/c.bin", bytes(range(64)))
    return file.getvalue()


def _tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as rolled:  # type: ignore[call-overload]
        for name, content in {"a.txt": b"hello", "b/c.bin": bytes(range(64))}.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            rolled.addfile(item, io.BytesIO(content))
    return file.getvalue()


TARGETS = {
    "image": Target(
        image,
        (
            *(
                encoded_image(kind)
                for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
            ),
            *(encoded_image("PNG", mode) for mode in ("L", "P", "1", "I;16", "RGBA")),
            *(encoded_image("JPEG", mode) for mode in ("L", "CMYK")),
            *(_with_orientation(number) for number in (3, 6)),
        ),
        (
            b"IHDR",
            b"IDAT",
            b"PLTE",
            b"eXIf",
            b"Exif\0\0",
            b"II*\0",
            b"MM\0*",
            b"\xff\xd8\xff",
            b"P6 9 7 65535\n",
        ),
    ),
    "archive": Target(
        archive,
        (_zip(), _tar("w"), _tar("w:gz")),
        (
            b"PK\x03\x04",
            b"PK\x01\x02",
            b"PK\x05\x06",
            b"../x",
            b"/tmp/x",
            b"ustar\0",
            b"\x1f\x8b",
            b"a.txt/x",
        ),
    ),
}
