"""Pictures within the page: their bytes are part of it."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


@dataclass(frozen=True)
class Picture:
    """One of several pictures that stand beside each other.

    Attributes:
        content: PNG, JPEG or GIF.
        size: (width, height) in pixels, in which boxes are measured.
        caption: Stands below.
        boxes: xyxy, half-open, in pixels, drawn over it.
    """

    content: bytes
    size: tuple[int, int]
    caption: str = ""
    boxes: Sequence[Sequence[float]] = ()


def data_uri(picture: bytes | str | Path) -> str:
    """Return a picture as a URI that holds it.

    Args:
        picture: A file, or its content.

    Raises:
        ValueError: If it is no PNG, JPEG or GIF.
    """
    content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    name = "the content" if isinstance(picture, bytes) else f"'{picture}'"
    raise ValueError(f"{name} is no PNG, JPEG or GIF")


def picture_id(picture: Picture) -> str:
    """Return the name under which a page keeps a picture's content; equal contents have one name."""
    return f"picture-{hashlib.sha256(picture.content).hexdigest()[:20]}"


def draw_store(pictures: Iterable[Picture]) -> Markup:
    """Return the contents that :func:`draw_picture` refers to, each once."""
    contents = {picture_id(picture): picture for picture in pictures}
    images = Markup("\n").join(
        Markup('<image id="{}" width="{}" height="{}" href="{}"/>').format(
            name, *picture.size, data_uri(picture.content)
        )
        for name, picture in contents.items()
    )
    return Markup('<svg class="store" aria-hidden="true"><defs>\n{}\n</defs></svg>').format(images)


def draw_picture(picture: Picture) -> Markup:
    """Return a picture with its boxes and caption; its content must be in the page's store."""
    width, height = picture.size
    boxes = Markup("").join(
        Markup(
            '<rect class="halo" x="{0}" y="{1}" width="{2}" height="{3}"/>'
            '<rect class="box" x="{0}" y="{1}" width="{2}" height="{3}"/>'
        ).format(x0, y0, x1 - x0, y1 - y0)
        for x0, y0, x1, y1 in picture.boxes
    )
    return Markup(
        '<figure class="picture"><svg viewBox="0 0 {w} {h}" role="img" aria-label="{label}">'
        '<use href="#{name}"/>{boxes}</svg><figcaption>{label}</figcaption></figure>'
    ).format(w=width, h=height, name=picture_id(picture), boxes=boxes, label=picture.caption)
