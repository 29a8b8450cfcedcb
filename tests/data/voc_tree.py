"""Builds tiny PASCAL VOC folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

Box = tuple[float | str, float | str, float | str, float | str]
"""xmin, ymin, xmax, ymax as VOC writes them: from 1, inclusive."""


def object_xml(name: str = "dog", box: Box = (1, 1, 5, 5), difficult: int | None = 0) -> str:
    mark = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{mark}<bndbox>{corners}</bndbox></object>"


def annotation_xml(objects: Sequence[str], size: tuple[int, int] = (20, 10)) -> str:
    width, height = size
    return (
        f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"{''.join(objects)}</annotation>"
    )


def write_voc(
    root: Path, images: Mapping[str, Sequence[str]], lists: Mapping[str, Sequence[str]], year: int = 2007
) -> Path:
    """Write images of 20 x 10 pixels, each with its objects, and the lists of splits; return VOC's folder."""
    folder = root / "VOCdevkit" / f"VOC{year}"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (image, objects) in enumerate(images.items()):
        (folder / "Annotations" / f"{image}.xml").write_text(annotation_xml(objects))
        pixels = torch.full((10, 20, 3), 40 * number % 256, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / "JPEGImages" / f"{image}.jpg")
    for split, ids in lists.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{image}\n" for image in ids))
    return folder
