"""Whole folders of labelled images whose annotations or lists are damaged."""

import json
from pathlib import Path

from guidance.data import Folder
from tests.data.coco_tree import coco_content, coco_image, coco_object
from tests.data.voc_tree import annotation_xml, object_xml
from tests.fuzzing.binaries import encoded_image
from tests.fuzzing.target import SEPARATOR, Target, result_or_refusal, split_files

NAMES = ("a", "b", "c")
FILES = (
    *("train.txt", "val.txt", "test.txt", "annotations.csv", "annotations.json"),
    *("classes.txt", "images/a.txt", "images/b.txt", "images/c.txt"),
    *("images/a.xml", "images/b.xml", "images/c.xml"),
)
PICTURE = encoded_image("PNG")  # 9 x 7 pixels


def folder_of_images(content: bytes, folder: Path) -> None:
    """What a split offers fits its images, whatever the files say."""
    (folder / "images").mkdir()
    for name in NAMES:
        (folder / "images" / f"{name}.png").write_bytes(PICTURE)
    for name, given in zip(FILES, split_files(content, len(FILES)), strict=True):
        if given:
            (folder / name).write_bytes(given)
    for split in ("train", "val"):
        found = result_or_refusal(lambda split=split: Folder(folder, split))  # type: ignore[misc]
        for index in range(0 if found is None else len(found)):
            assert found is not None
            annotation = found.annotation(index)
            assert annotation.size == (7, 9)
            assert annotation.labels.shape == (len(found.classes),)
            boxes = annotation.boxes
            assert bool((boxes >= 0).all())
            assert bool((boxes[:, [0, 2]] <= 9).all())
            assert bool((boxes[:, [1, 3]] <= 7).all())
            assert bool(annotation.labels[annotation.box_classes].all())
            assert found.image(index).shape == (3, 7, 9)
            classes, masks = found.masks(index)
            assert masks.shape == (len(classes), 7, 9)


def _files(**contents: bytes) -> bytes:
    given = {name.replace("__", "/").replace("_", "."): content for name, content in contents.items()}
    return SEPARATOR.join(given.get(name, b"") for name in FILES)


_LISTS = {"train_txt": b"a.png\n", "val_txt": b"b\n", "test_txt": b"images/c.png\n"}
_CSV = b"image,class,xmin,ymin,xmax,ymax\na.png,cat,1,2,3,4\nb.png,dog,0,0,9,7\nc.png,cat,,,,\n"
_COCO = coco_content(
    [coco_image(number, f"{name}.png", (9, 7)) for number, name in enumerate(NAMES)],
    [
        coco_object(1, 0, bbox=[1, 2, 3, 4], segmentation=[[1, 2, 4, 2, 4, 6]]),
        coco_object(2, 1, 17, bbox=[0, 0, 9, 7], segmentation={"size": [7, 9], "counts": [9, 5, 49]}),
        coco_object(3, 2),
    ],
)
_XML = annotation_xml([object_xml("cat", (1, 2, 5, 6))], (9, 7)).encode()

TARGETS = {
    "folder": Target(
        folder_of_images,
        (
            _files(**_LISTS, annotations_csv=_CSV),
            _files(annotations_csv=_CSV),
            _files(**_LISTS, annotations_json=json.dumps(_COCO).encode()),
            _files(**_LISTS, images__a_xml=_XML, images__b_xml=_XML, images__c_xml=_XML),
            _files(
                **_LISTS,
                classes_txt=b"cat\ndog\n",
                images__a_txt=b"0 0.5 0.5 0.5 0.5\n",
                images__b_txt=b"1 0 0 1 1\n",
                images__c_txt=b"0 0.1 0.1 0.9 0.1 0.9 0.9\n",
            ),
        ),
        (
            SEPARATOR,
            b"a.png",
            b"b.png",
            b"../a.png",
            b"cat",
            b"\0",
            b"nan",
            b"1e999",
            b"-1",
            b'"id"',
            b"\xff",
        ),
    )
}
