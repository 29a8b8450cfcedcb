import contextlib
import importlib
import io
import os
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from guidance.data import image_file
from guidance.data.image_file import image_size, read_image, read_label_image
from guidance.errors import InputError


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth noise in colour, with detail at two scales."""
    rng = np.random.default_rng(seed)
    layers = []
    for cell, contrast in ((12, 160), (3, 50)):
        small = rng.integers(0, contrast, (height // cell + 2, width // cell + 2, 3), dtype=np.uint8)
        layers.append(np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)))
    return Image.fromarray(layers[0] + layers[1])


PHOTO = photo(60, 41)
GREY = PHOTO.convert("L")
MIRRORED = ImageOps.mirror(PHOTO)
PALETTE = PHOTO.quantize(32)
ALPHA = PHOTO.copy()
ALPHA.putalpha(ImageOps.mirror(GREY))
GREY_ALPHA = Image.merge("LA", (GREY, ImageOps.mirror(GREY)))
ANIMATION: dict[str, Any] = {"save_all": True, "append_images": [MIRRORED], "duration": 50}

# name -> (image, format, options)
KINDS: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "jpeg": (PHOTO, "JPEG", {}),
    "progressive jpeg": (PHOTO, "JPEG", {"progressive": True}),
    "jpeg without subsampling": (PHOTO, "JPEG", {"subsampling": 0}),
    "rgb jpeg": (PHOTO, "JPEG", {"keep_rgb": True}),
    "grey jpeg": (GREY, "JPEG", {}),
    "cmyk jpeg": (PHOTO.convert("CMYK"), "JPEG", {}),
    "several pictures": (PHOTO, "MPO", {"save_all": True, "append_images": [MIRRORED]}),
    "png": (PHOTO, "PNG", {}),
    "grey png": (GREY, "PNG", {}),
    "black and white png": (GREY.convert("1"), "PNG", {}),
    "palette png": (PALETTE, "PNG", {}),
    "palette png, one colour transparent": (PALETTE, "PNG", {"transparency": 3}),
    "palette png, all colours half transparent": (PALETTE, "PNG", {"transparency": bytes([128] * 32)}),
    "palette png of 4 bits": (PHOTO.quantize(12), "PNG", {}),
    "png with alpha": (ALPHA, "PNG", {}),
    "grey png with alpha": (GREY_ALPHA, "PNG", {}),
    "apng": (PHOTO, "PNG", ANIMATION),
    "webp": (PHOTO, "WEBP", {"lossless": True}),
    "webp with alpha": (ALPHA, "WEBP", {"lossless": True, "exact": True}),
    "animated webp": (PHOTO, "WEBP", {"lossless": True, **ANIMATION}),
    "gif": (PALETTE, "GIF", {}),
    "animated gif": (PALETTE, "GIF", {**ANIMATION, "append_images": [MIRRORED.quantize(32)]}),
    "bmp": (PHOTO, "BMP", {}),
    "tiff": (PHOTO, "TIFF", {}),
    "compressed tiff": (PHOTO, "TIFF", {"compression": "tiff_lzw"}),
    "cmyk tiff": (PHOTO.convert("CMYK"), "TIFF", {}),
    "ppm": (PHOTO, "PPM", {}),
    "jpeg 2000": (PHOTO, "JPEG2000", {}),
}
LOSSY = ("JPEG", "MPO")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tensor(image: Image.Image) -> Tensor:
    if image.mode == "P":
        image = image.convert("RGBA")
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def difference(one: Tensor, other: Tensor) -> int:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == torch.uint8
    return int((one.int() - other.int()).abs().max())


# What is read


@pytest.mark.filterwarnings("error", "ignore:The image decoding and encoding:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_read_as_rgb(tmp_path: Path, kind: str) -> None:
    image, form, options = KINDS[kind]
    path = tmp_path / "image.any"
    path.write_bytes(encoded(image, form, **options))
    pixels = read_image(path)
    with Image.open(path) as reference:
        assert difference(pixels, tensor(reference)) <= 1
    if form not in LOSSY:
        assert difference(pixels, tensor(image)) == 0
    assert image_size(path) == (41, 60)


@pytest.mark.parametrize("kind", ["jpeg", "apng", "animated gif", "animated webp", "several pictures"])
def test_of_an_animation_the_first_frame(tmp_path: Path, kind: str) -> None:
    image, form, options = KINDS[kind]
    path = tmp_path / "image"
    path.write_bytes(encoded(image, form, **options))
    pixels = read_image(path).float()
    first, second = ((pixels - tensor(frame).float()).abs().mean() for frame in (image, MIRRORED))
    assert first < second / 3


def test_cmyk_jpegs_are_not_inverted(tmp_path: Path) -> None:
    path = tmp_path / "cmyk.jpg"
    PHOTO.convert("CMYK").save(path, quality=100, subsampling=0)
    assert difference(read_image(path), tensor(PHOTO)) <= 12


SIXTEEN = (np.asarray(GREY).astype(np.uint16) * 257) + np.uint16(3)
"""Its upper bytes are GREY, or where that is 255 they would overflow: there is no such pixel."""


def big_endian_png(samples: np.ndarray, colour_type: int) -> bytes:
    """Write a 16-bit PNG by hand; Pillow writes none with colours."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_of_sixteen_bits_the_upper_eight_count(tmp_path: Path) -> None:
    assert SIXTEEN.max() >> 8 == np.asarray(GREY).max() < 255
    colours = np.asarray(PHOTO).astype(np.uint16) * 257
    height, width = SIXTEEN.shape
    files = {
        "grey.png": (big_endian_png(SIXTEEN, 0), GREY),
        "grey.tiff": (encoded(Image.fromarray(SIXTEEN), "TIFF"), GREY),
        "grey.pgm": (b"P5 %d %d 65535\n" % (width, height) + SIXTEEN.astype(">u2").tobytes(), GREY),
        "colour.png": (big_endian_png(colours, 2), PHOTO),
        "alpha.png": (big_endian_png(np.dstack([colours, SIXTEEN]), 6), PHOTO),
    }
    for name, (content, expected) in files.items():
        (tmp_path / name).write_bytes(content)
        assert difference(read_image(tmp_path / name), tensor(expected)) == 0, name


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_white_are_refused(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "numbers.tiff"
    Image.fromarray(np.ones((4, 5), dtype=dtype)).save(path)
    with pytest.raises(InputError, match=r"cannot read the image .*numbers\.tiff: .* what is white"):
        read_image(path)


@pytest.mark.parametrize("name", ["mit Leer zeichen.jpg", "écran-画像-🙂.jpg", "#%20&'\".jpg"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    PHOTO.save(path)
    assert read_image(path).shape == (3, 41, 60)


def test_the_decoder_does_not_announce_its_end_to_the_user(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    PHOTO.save(path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        importlib.reload(image_file).read_image(path)
    assert seen == []


# Size and orientation


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_on_demand(tmp_path: Path, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    path.write_bytes(encoded(PHOTO, form, exif=exif))
    with Image.open(path) as image:
        as_stored, upright = tensor(image), tensor(ImageOps.exif_transpose(image))
    assert difference(read_image(path), as_stored) <= 1
    assert difference(read_image(path, exif=True), upright) <= 1
    assert image_size(path) == (41, 60)
    size = (41, 60) if orientation < 5 else (60, 41)
    assert image_size(path, exif=True) == size == read_image(path, size, exif=True).shape[1:]
    if orientation >= 5:
        with pytest.raises(InputError, match=r"is 41 x 60 pixels, but its annotation says 60 x 41"):
            read_image(path, (41, 60), exif=True)


def test_a_tiff_is_always_upright(tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    PHOTO.save(path, tiffinfo={0x0112: 6})
    upright = tensor(PHOTO.transpose(Image.Transpose.ROTATE_270))
    for exif in (False, True):
        assert difference(read_image(path, (60, 41), exif=exif), upright) == 0
        assert image_size(path, exif) == (60, 41)


@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"])
def test_damaged_or_senseless_exif_is_no_orientation(tmp_path: Path, exif: bytes) -> None:
    senseless = Image.Exif()
    senseless[0x0112] = 77
    for number, block in enumerate((exif, senseless)):
        path = tmp_path / f"{number}.jpg"
        PHOTO.save(path, exif=block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert image_size(path, exif=True) == (41, 60)
            assert torch.equal(read_image(path, exif=True), read_image(path))


def test_the_size_that_the_annotation_says(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    PHOTO.save(path)
    assert read_image(path, (41, 60)).shape == (3, 41, 60)
    with pytest.raises(InputError, match=r"image\.jpg is 60 x 41 pixels, but its annotation says 41 x 60"):
        read_image(path, (60, 41))


# Reduced decoding


LARGE = photo(1203, 901)


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (57, (226, 301)),  # 901 // 114 = 7: a quarter
        (56, (113, 151)),  # an eighth, both sides at least 112
        (112, (226, 301)),
        (113, (901, 1203)),
        (2000, (901, 1203)),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_large_jpeg_is_decoded_no_smaller_than_needed(
    tmp_path: Path, mode: str, least: int, expected: tuple[int, int]
) -> None:
    path = tmp_path / "large.jpg"
    LARGE.convert(mode).save(path)
    pixels = read_image(path, size=(901, 1203), least=least)
    assert pixels.shape == (3, *expected)
    assert min(pixels.shape[1:]) >= 2 * least or expected == (901, 1203)
    with pytest.raises(InputError, match="its annotation says"):
        read_image(path, size=expected if expected != (901, 1203) else (1, 1), least=least)


def test_the_resized_image_is_nearly_the_same(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    photo(2000, 1500).save(path)
    reduced, full = read_image(path, least=180), read_image(path)
    assert reduced.shape == (3, 375, 500)
    small, expected = (transforms.resize(image, [180, 180], antialias=True) for image in (reduced, full))
    assert difference(small, expected) <= 6
    assert (small.float() - expected.float()).abs().mean() < 0.7
    # The same error by half a pixel would be far larger.
    assert (small.float() - expected.float().roll(1, 2)).abs().mean() > 5


def test_a_reduced_image_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "large.jpg"
    LARGE.save(path, exif=exif)
    plain = read_image(path, least=100)
    turned = read_image(path, size=(1203, 901), least=100, exif=True)
    assert torch.equal(turned, plain.rot90(-1, (1, 2)))
    assert turned.shape == (3, 301, 226)


def test_only_jpegs_are_reduced(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    LARGE.save(path, compress_level=1)
    assert read_image(path, least=10).shape == (3, 901, 1203)


# What cannot be read


def refused(path: Path, read: Callable[[Path], object] = read_image) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"cannot read the image {path}: ")
    assert message.endswith(". Replace or remove the file.")
    assert ".cpp" not in message
    return message


@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_image(tmp_path: Path, read: Callable[[Path], object]) -> None:
    empty, text, folder = tmp_path / "empty.png", tmp_path / "text.jpg", tmp_path / "folder.jpg"
    empty.touch()
    text.write_text("hello")
    folder.mkdir()
    assert "Unsupported image file" in refused(empty, read)
    assert "Unsupported image file; what can be read is JPEG, PNG, WEBP" in refused(text, read)
    assert "Is a directory" in refused(folder, read)
    assert "No such file" in refused(tmp_path / "gone.jpg", read)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    PHOTO.save(path)
    path.chmod(0)
    assert "Permission denied" in refused(path)


def test_a_format_whose_decoder_starts_programs_is_not_tried(tmp_path: Path) -> None:
    path = tmp_path / "image.eps"
    PHOTO.save(path)
    assert "Unsupported image file" in refused(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "gif" not in kind and "2000" not in kind])
def test_a_truncated_image(tmp_path: Path, kind: str, kept: float) -> None:
    image, form, options = KINDS[kind]
    if kind in ("several pictures", "apng", "animated webp"):
        kept /= 2.5  # within the first frame
    path = tmp_path / "image"
    content = encoded(image, form, **options)
    path.write_bytes(content[: int(kept * len(content))])
    refused(path)


@pytest.mark.parametrize("least", [None, 100])
def test_a_truncated_large_jpeg(tmp_path: Path, least: int | None) -> None:
    path = tmp_path / "large.jpg"
    content = encoded(LARGE, "JPEG")
    path.write_bytes(content[: len(content) * 9 // 10])
    refused(path, lambda path: read_image(path, least=least))


SMALL = {
    form: encoded(photo(9, 7).convert("P" if form == "GIF" else "RGB"), form)
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    form=st.sampled_from(sorted(SMALL)),
    changes=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(min_size=0, max_size=4)), min_size=1, max_size=4
    ),
    exif=st.booleans(),
    least=st.sampled_from([None, 1]),
)
@example("PNG", [(0, b"\x89PNG")], True, None)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_an_image_or_one_error(
    tmp_path: Path, form: str, changes: list[tuple[int, bytes]], exif: bool, least: int | None
) -> None:
    content = SMALL[form]
    for place, new in changes:
        place %= len(content)
        content = content[:place] + new + content[place + len(new) :] if new else content[:place]
        if not content:
            break
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        height, width = image_size(path, exif)
        if height * width < 1_000_000:
            pixels = read_image(path, least=least, exif=exif)
            assert pixels.dtype == torch.uint8
            assert pixels.shape[0] == 3


def bomb(width: int, height: int) -> bytes:
    """A PNG of one pixel whose header says it is larger."""
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize("pillow_stops", [True, False])
def test_an_image_too_large_to_be_one_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pillow_stops: bool
) -> None:
    if not pillow_stops:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20_000, 10_001))
    for read in (read_image, image_size):
        assert "Image size (200020000 pixels) exceeds limit" in refused(path, read)
    with pytest.raises(InputError, match=r"segmentation .*bomb\.png: Image size \(200020000 pixels\)"):
        read_label_image(path, (10_001, 20_000))


def test_the_header_alone_decides_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        path = tmp_path / form
        path.write_bytes(encoded(PHOTO, form, exif=exif))
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "load", None)
            patch.setattr("PIL.ImageFile.ImageFile.load", None)
            patch.setattr(image_file, "decode_image", None)
            assert image_size(path, exif=True) == (60, 41)


def test_the_header_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    photo(2000, 1500).save(path)
    image_size(path)

    def seconds(read: Callable[[Path], object]) -> float:
        start = time.perf_counter()
        read(path)
        return time.perf_counter() - start

    assert min(seconds(image_size) for _ in range(5)) < min(seconds(read_image) for _ in range(2)) / 5


# Label images


def test_label_images_are_numbers(tmp_path: Path) -> None:
    numbers = torch.arange(0, 256, dtype=torch.uint8).reshape(8, 32)
    palette = Image.fromarray(numbers.numpy()).convert("P")
    palette.putpalette([(37 * i) % 256 for i in range(768)])
    palette.putdata(numbers.flatten().tolist())
    palette.save(tmp_path / "palette.png")
    Image.fromarray(numbers.numpy()).save(tmp_path / "grey.png")
    for name in ("palette.png", "grey.png"):
        assert torch.equal(read_label_image(tmp_path / name, (8, 32)), numbers)
    Image.fromarray(numbers.numpy() > 100).save(tmp_path / "binary.png")
    assert torch.equal(read_label_image(tmp_path / "binary.png", (8, 32)), (numbers > 100).byte())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_colours_are_no_class_numbers(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "labels.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(InputError, match=rf"labels\.png must hold one class number per pixel.*it is {mode}"):
        read_label_image(path, (3, 4))


def test_label_images_of_another_size_torn_or_gone(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    GREY.save(path)
    with pytest.raises(InputError, match=r"labels\.png is 60 x 41 pixels, but its image is 41 x 60"):
        read_label_image(path, (60, 41))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot read the segmentation .*labels\.png: .*Replace or remove"):
        read_label_image(path, (41, 60))
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read the segmentation .*labels\.png: No such file"):
        read_label_image(path, (41, 60))
