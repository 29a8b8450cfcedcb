"""Builds one small data set, the same images and boxes, in each format that a folder may have."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tests.data.voc_tree import annotation_xml, object_xml

Object = tuple[str, tuple[int, int, int, int]]
"""A class and a half-open box in pixels."""

CLASSES = ("blue", "red")


def _examples() -> dict[str, tuple[tuple[int, int], list[Object]]]:
    """Twelve images by name: (width, height) and objects, whose numbers differ from image to image."""
    examples = {}
    for number in range(12):
        width, height = 41 + 3 * number, 67 - 2 * number
        red = ("red", (number, 2, number + 7, 13 + number))
        blue = ("blue", (width - 11, height - 9 - number, width, height))
        objects = {0: [red], 1: [blue], 2: [red, blue], 3: []}[number % 4]
        examples[f"image {number:02d}é.png"] = ((width, height), objects)
    return examples


EXAMPLES = _examples()
"""By file name: (width, height) and objects; a quarter shows both classes, a quarter none."""


def draw_image(path: Path, size: tuple[int, int], objects: Sequence[Object]) -> None:
    """Write a grey image with each object as a rectangle of its class's colour."""
    image = Image.new("RGB", size, "grey")
    for name, (x0, y0, x1, y1) in objects:
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_images(folder: Path) -> None:
    for name, (size, objects) in EXAMPLES.items():
        draw_image(folder / name, size, objects)


def write_voc(root: Path) -> None:
    write_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for name, (size, objects) in EXAMPLES.items():
        xml = [object_xml(label, (x0 + 1, y0 + 1, x1, y1)) for label, (x0, y0, x1, y1) in objects]
        (root / "Annotations" / name).with_suffix(".xml").write_text(annotation_xml(xml, size))


def write_coco(root: Path) -> None:
    write_images(root / "images")
    write_json(root / "annotations.json", EXAMPLES)


def write_json(path: Path, images: Mapping[str, tuple[tuple[int, int], Sequence[Object]]]) -> None:
    """Write COCO's JSON; each object's polygon is its box."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, (size, objects)) in enumerate(images.items(), start=1):
        entries.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for label, (x0, y0, x1, y1) in objects:
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": CLASSES.index(label) + 3,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            annotations.append(annotation)
    categories = [{"id": number + 3, "name": name} for number, name in enumerate(CLASSES)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))


def write_csv(root: Path) -> None:
    write_images(root / "images")
    rows = ["image,class,xmin,ymin,xmax,ymax"]
    for name, (_, objects) in EXAMPLES.items():
        rows += [f"{name},{label},{','.join(map(str, box))}" for label, box in objects] or [f"{name},,,,,"]
    (root / "annotations.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_yolo(root: Path) -> None:
    write_images(root / "images")
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    for name, (size, objects) in EXAMPLES.items():
        rows = [yolo_row(CLASSES.index(label), box, size) for label, box in objects]
        (root / "labels" / name).with_suffix(".txt").write_text("".join(f"{row}\n" for row in rows))


def yolo_row(number: int, box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """Write a box with the six decimals that YOLO's tools give."""
    (x0, y0, x1, y1), (width, height) = box, size
    parts = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{number} " + " ".join(f"{part:.6f}" for part in parts)


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "voc": write_voc,
    "coco": write_coco,
    "csv": write_csv,
    "yolo": write_yolo,
}
