"""Annotation files of data sets: VOC's XML, COCO's JSON, CSV, YOLO's text, and the tables of Waterbirds."""

import json
import math
from pathlib import Path

import torch

from guidance.data.annotation import Annotation
from guidance.data.coco_annotation import read_coco
from guidance.data.coco_segmentation import Segmentations, parse_segmentation
from guidance.data.folder.csv_table import read_csv
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.yolo import read_yolo
from guidance.data.folder.yolo_names import read_yolo_names
from guidance.data.labelled_object import LabelledObject, annotate
from guidance.data.voc_annotation import read_voc_annotation
from guidance.data.waterbirds.cub import read_boxes, read_images, read_training
from guidance.data.waterbirds.metadata import read_metadata
from tests.data.coco_tree import coco_content, coco_image, coco_object
from tests.data.voc_tree import annotation_xml, object_xml
from tests.fuzzing.target import SEPARATOR, Target, result_or_refusal, split_files

NUMBERS = (b"0", b"-1", b"1e308", b"1e999", b"nan", b"inf", b"1_0", b"2147483648", b"9223372036854775808")
LARGEST = 4096  # pixels along a side, beyond which no mask is drawn here


def check_objects(objects: list[LabelledObject], size: tuple[int, int]) -> Annotation:
    """Make an annotation of whatever objects a file has; its boxes lie within the image."""
    names = sorted({item.name for item in objects})
    annotation, _ = annotate(objects, size, {name: number for number, name in enumerate(names)})
    height, width = size
    x0, y0, x1, y1 = annotation.boxes.unbind(1)
    assert bool(((x0 >= 0) & (y0 >= 0) & (x0 <= x1) & (y0 <= y1)).all())
    assert bool(((x1 <= width) & (y1 <= height)).all())
    assert int(annotation.labels.sum()) == len(names)
    return annotation


def voc(content: bytes, folder: Path) -> None:
    path = folder / "a.xml"
    path.write_bytes(content)
    found = result_or_refusal(lambda: read_voc_annotation(path))
    if found is not None:
        assert len(found.objects) == len(found.difficult)
        assert min(found.size) >= 1
        check_objects(found.objects, found.size)


def coco(content: bytes, folder: Path) -> None:
    path = folder / "instances.json"
    path.write_bytes(content)
    found = result_or_refusal(lambda: read_coco(path))
    for index in range(0 if found is None else len(found)):
        assert found is not None
        size = found.size(index)
        objects, _ = found.objects(index)
        check_objects(objects, size)
        if max(size) <= LARGEST:
            names, masks = found.masks(index)
            assert masks.shape == (len(names), *size)
            assert set(names) <= {item.name for item in objects}


def segmentation(content: bytes, folder: Path) -> None:
    del folder
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = {"size": [6, 5], "counts": content.decode("latin-1")}
    found = parse_segmentation(value)
    size = found.size or (6, 5)
    if max(size) <= LARGEST:
        segmentations = Segmentations([found])
        drawn = segmentations.draw([0], size)
        assert drawn.shape == size
        assert bool(segmentations.drawable[0]) or not drawn.any()


def csv_table(content: bytes, folder: Path) -> None:
    path = folder / "annotations.csv"
    path.write_bytes(content)
    found = result_or_refusal(lambda: read_csv(path))
    if found is not None:
        rows, _ = found
        check_objects([row.item for row in rows if row.item is not None], (30, 40))


def yolo(content: bytes, folder: Path) -> None:
    text, classes, numbered = split_files(content, 3)
    for name, given in (("classes.txt", classes), ("data.yaml", numbered)):
        if given is not None:
            (folder / name).write_bytes(given)
    names = result_or_refusal(lambda: read_yolo_names(folder)) or {0: "cat", 7: "dog"}
    assert all(number >= 0 and name.strip() for number, name in names.items())
    found = read_yolo((text or b"").decode("utf-8", "replace"), names, "a.txt")
    assert isinstance(found, ImageRecord)
    annotation = check_objects(found.in_pixels((30, 40)), (30, 40))
    assert not bool(torch.isnan(annotation.boxes).any())


def cub(content: bytes, folder: Path) -> None:
    parts = split_files(content, 4)
    for name, given in zip(
        ("images.txt", "bounding_boxes.txt", "train_test_split.txt", "metadata.csv"), parts, strict=True
    ):
        if given is not None:
            (folder / name).write_bytes(given)
    images = result_or_refusal(lambda: read_images(folder)) or {}
    boxes = result_or_refusal(lambda: read_boxes(folder, images)) or {}
    assert set(boxes) <= set(images.values())
    training = result_or_refusal(lambda: read_training(folder, images)) or {}
    assert set(training) <= set(images.values())
    rows = result_or_refusal(lambda: read_metadata(folder / "metadata.csv")) or []
    assert all(0 <= row.group < 4 and row.split in (0, 1, 2) for row in rows)
    for name in (*images.values(), *(row.file_name for row in rows)):
        assert (folder / name).resolve().is_relative_to(folder.resolve())
    for box in boxes.values():
        assert (
            math.nan
            not in annotate([LabelledObject("bird", box.box, box.where)], (30, 40), {"bird": 0})[
                0
            ].boxes.tolist()
        )


_XML = annotation_xml([object_xml("dog", (1, 2, 5, 6)), object_xml("cat", (3, 1, 20, 10), difficult=1)])
_COCO = coco_content(
    [coco_image(1), coco_image(2, "a/b.jpg")],
    [
        coco_object(1, 1),
        coco_object(2, 2, iscrowd=1, segmentation={"size": [10, 20], "counts": [3, 5, 192]}),
        coco_object(3, 2, 17, segmentation={"size": [10, 20], "counts": "3U6"}),
    ],
)

TARGETS = {
    "voc": Target(
        voc,
        (_XML.encode(), _XML.encode("utf-16"), b'<?xml version="1.0" encoding="latin-1"?>' + _XML.encode()),
        (
            *(b"<object>", b"</object>", b"<bndbox>", b"<xmin>", b"<difficult>", b"<name>", b"<size>"),
            *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&#0;", b"<![CDATA[", b"encoding='utf-7'"),
            *NUMBERS,
        ),
    ),
    "coco": Target(
        coco,
        (json.dumps(_COCO).encode(),),
        (
            *(b'"images"', b'"annotations"', b'"categories"', b'"segmentation"', b'"bbox"', b'"counts"'),
            *(b'"size"', b'"iscrowd"', b"null", b"true", b"NaN", b"Infinity", b"[[[[", b"{}", b"\\ud800"),
            *NUMBERS,
        ),
    ),
    "segmentation": Target(
        segmentation,
        (
            b'{"size": [6, 5], "counts": [3, 5, 22]}',
            b'{"size": [10, 20], "counts": "3U6"}',
            b"[[2.0, 1.0, 4.0, 1.0, 4.5, 3.0], [1, 1, 2, 2, 3, 1]]",
            b"3U6",
        ),
        (b'"size"', b'"counts"', b"null", b"true", b"NaN", b"-0", b"[]", b"oooo", b"P", b"_", *NUMBERS),
    ),
    "csv": Target(
        csv_table,
        (
            b"image,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,3,4\nb.jpg,,,,,\nc.jpg,dog,,,,\n",
            b'\xef\xbb\xbfimage,class,xmin,ymin,xmax,ymax\r\n"a,b.jpg","c ""d""",1.5,2,3e0,4\r\n',
        ),
        (b",", b'"', b"\n", b"\r", b"\0", b";", "é".encode(), "\u2028".encode(), *NUMBERS),
    ),
    "yolo": Target(
        yolo,
        (
            SEPARATOR.join((b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.3 0.1 0.2 0.3\n", b"cat\ndog\n")),
            SEPARATOR.join((b"0 0.5 0.5 0.2 0.2\n", b"cat", b"names: {0: cat}\n")),
            SEPARATOR.join((b"7 1 1 1 1\n", b"cat\n\ndog", b"names: [cat, dog]\n")),
        ),
        (
            SEPARATOR,
            b"names:",
            b"- ",
            b"&a [*a]",
            b"!!python/name:os",
            b"? ",
            b"\xef\xbb\xbf",
            b"\0",
            *NUMBERS,
        ),
    ),
    "cub": Target(
        cub,
        (
            SEPARATOR.join(
                (
                    b"1 001.A/a.jpg\n2 002.B/b c.jpg\n",
                    b"1 1.0 2.0 3.0 4.0\n2 0 0 5 5\n",
                    b"1 1\n2 0\n",
                    b"img_id,img_filename,y,split,place,place_filename\n1,001.A/a.jpg,0,0,1,/x.jpg\n",
                )
            ),
        ),
        (SEPARATOR, b"../", b"/", b"\\", b"\0", b"C:", b'"', b"\r", "\u0660".encode(), *NUMBERS),
    ),
}
