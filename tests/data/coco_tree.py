"""Builds tiny folders in COCO's layout."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

Entry = dict[str, Any]

SQUARE = [2.0, 1.0, 8.0, 1.0, 8.0, 6.0, 2.0, 6.0]
"""A polygon around the box that :func:`coco_object` has by default."""


def coco_image(number: int, name: str | None = None, size: tuple[int, int] = (20, 10)) -> Entry:
    """Return an entry of ``"images"``; the size is (width, height)."""
    width, height = size
    return {"id": number, "file_name": name or f"{number:012d}.jpg", "width": width, "height": height}


def coco_object(number: int, image: int, category: int = 18, **values: Any) -> Entry:
    """Return an entry of ``"annotations"``; by default a dog in x 2 to 8, y 1 to 6."""
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": [2.0, 1.0, 6.0, 5.0]}
    return entry | {"iscrowd": 0, "area": 30.0, "segmentation": [SQUARE]} | values


def coco_content(
    images: Sequence[Entry] = (),
    annotations: Sequence[Entry] = (),
    categories: Mapping[int, str] | None = None,
) -> Entry:
    """Return what an instances file holds; without ``categories`` cats and dogs."""
    names = {17: "cat", 18: "dog"} if categories is None else categories
    return {
        "info": {"year": 2014},
        "images": list(images),
        "annotations": list(annotations),
        "categories": [{"id": number, "name": name, "supercategory": "x"} for number, name in names.items()],
    }


def write_json(path: Path, content: Any) -> Path:
    """Write an instances file; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_coco(
    root: Path,
    part: str,
    images: Sequence[Entry],
    annotations: Sequence[Entry] = (),
    categories: Mapping[int, str] | None = None,
    folder: str | None = None,
) -> Path:
    """Write the instances file of ``part``, e.g. ``train2014``, and its images; return the file."""
    for image in images:
        path = root / (folder or part) / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.full((image["height"], image["width"], 3), 40 * image["id"] % 256, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    content = coco_content(images, annotations, categories)
    return write_json(root / "annotations" / f"instances_{part}.json", content)
