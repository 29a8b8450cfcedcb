import os
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from guidance.data.folder import Folder
from guidance.data.image_dataset import ImageDataset
from guidance.data.voc import VOC
from guidance.errors import InputError
from tests.data.folder_tree import WRITERS, draw_image, yolo_row
from tests.data.voc_tree import annotation_xml, object_xml

SPLITS = ("train", "val", "test")
HEADER = "image,class,xmin,ymin,xmax,ymax\n"


def write_table(root: Path, rows: str, *images: str, size: tuple[int, int] = (20, 10)) -> None:
    for image in images:
        draw_image(root / image, size, [])
    (root / "annotations.csv").write_text(HEADER + rows)


def reasons(dataset: ImageDataset) -> list[tuple[str, str, str]]:
    return [(item.what, item.reason, item.where) for item in dataset.skipped]


# Classes


def test_classes_are_those_of_all_splits(tmp_path: Path) -> None:
    images = ["train/a.jpg", "val/b.jpg", "test/c.jpg"]
    write_table(tmp_path, "train/a.jpg,dog,,,,\nval/b.jpg,cat,,,,\ntest/c.jpg,cow,,,,\n", *images)
    for split in SPLITS:
        assert Folder(tmp_path, split).classes == ("cat", "cow", "dog")
    assert Folder(tmp_path, "val").annotation(0).labels.tolist() == [True, False, False]


def test_images_of_no_split_bring_no_class(tmp_path: Path) -> None:
    images = ["train/a.jpg", "val/b.jpg", "test/c.jpg", "d.jpg"]
    write_table(tmp_path, "".join(f"{image},{image[-5]},,,,\n" for image in images), *images)
    assert Folder(tmp_path, "train").classes == ("a", "b", "c")


def test_chosen_classes_keep_their_order_and_others_are_counted(tmp_path: Path) -> None:
    images = ["train/a.jpg", "val/b.jpg", "test/c.jpg"]
    rows = "train/a.jpg,dog,1,1,5,5\ntrain/a.jpg,cat,2,2,6,6\nval/b.jpg,cow,,,,\ntest/c.jpg,cat,,,,\n"
    write_table(tmp_path, rows, *images)
    dataset = Folder(tmp_path, "train", classes=OmegaConf.create(["dog", "cow"]))
    assert dataset.classes == ("dog", "cow")
    assert dataset.annotation(0).labels.tolist() == [True, False]
    assert dataset.annotation(0).boxes.tolist() == [[1, 1, 5, 5]]
    where = f"{tmp_path}/annotations.csv:3"
    assert reasons(dataset) == [("object", "its class 'cat' is not in data.classes", where)]
    assert not Folder(tmp_path, "test", classes=["dog", "cow"]).annotation(0).labels.any()


def test_the_order_of_yolos_names_is_kept(tmp_path: Path) -> None:
    WRITERS["yolo"](tmp_path)
    (tmp_path / "classes.txt").write_text("zebra\nant\nbee\n")
    assert Folder(tmp_path, "val").classes == ("zebra", "ant", "bee")


def test_an_unknown_class(tmp_path: Path) -> None:
    WRITERS["voc"](tmp_path)
    with pytest.raises(InputError, match=r"'rde'. Did you mean 'red'"):
        Folder(tmp_path, "train", classes=["rde"])


def test_one_class_an_image(tmp_path: Path) -> None:
    images = ["train/a.jpg", "train/b.jpg", "train/c.jpg", "train/d.jpg", "val/e.jpg", "test/f.jpg"]
    rows = "".join(
        f"{image},{label},,,,\n"
        for image, labels in zip(images, ("cat", "cat dog", "", "dog dog", "dog", "cat"), strict=True)
        for label in labels.split(" ")
    )
    write_table(tmp_path, rows, *images)
    dataset = Folder(tmp_path, "train", multi_label=False)
    assert dataset.multi_label is False
    labels = torch.stack([dataset.annotation(index).labels for index in range(len(dataset))])
    assert labels.tolist() == [[True, False], [False, True]]
    assert [(what, reason.split(";")[0], Path(where).name) for what, reason, where in reasons(dataset)] == [
        ("image", "it shows several classes", "b.jpg"),
        ("image", "it shows no class", "c.jpg"),
    ]
    # Of the classes chosen, b.jpg shows one.
    assert len(Folder(tmp_path, "train", classes=["cat"], multi_label=False)) == 2


# What cannot be used


def test_the_split_goes_on_without_broken_images(tmp_path: Path) -> None:
    images = [f"{split}/{number}.png" for split in SPLITS for number in range(3)]
    write_table(tmp_path, "".join(f"{image},cat,1,1,30,5\n" for image in images), *images)
    (tmp_path / "val" / "1.png").write_bytes(b"no image")
    draw_image(tmp_path / "val" / "more.png", (20, 10), [])
    draw_image(tmp_path / "elsewhere" / "x.png", (20, 10), [])
    with (tmp_path / "annotations.csv").open("a") as table:
        table.write("val/gone.png,cat,,,,\n")
    dataset = Folder(tmp_path, "val")
    assert [Path(dataset.name(index)).name for index in range(len(dataset))] == ["0.png", "2.png"]
    assert dataset.annotation(1).boxes.tolist() == [[1, 1, 20, 5]]
    clipped = "it reaches outside the image and was clipped"
    assert reasons(dataset) == [
        ("part of a box", clipped, f"{tmp_path}/annotations.csv:5"),
        ("image", "its file cannot be read", f"{tmp_path}/val/1.png"),
        ("part of a box", clipped, f"{tmp_path}/annotations.csv:7"),
        ("image", "it has no annotation", f"{tmp_path}/val/more.png"),
    ]
    # What belongs to no split is listed once, with train.
    assert reasons(Folder(tmp_path, "train"))[3:] == [
        ("image", "its file is missing", f"{tmp_path}/annotations.csv:11"),
        ("image", "it is in no folder of a split", f"{tmp_path}/elsewhere/x.png"),
    ]


def test_what_the_format_skips_is_counted_with_its_split(tmp_path: Path) -> None:
    for split in SPLITS:
        draw_image(tmp_path / split / "a.png", (20, 10), [])
        objects = [object_xml("cat"), object_xml("dog", difficult=int(split != "val"))]
        (tmp_path / split / "a.xml").write_text(annotation_xml(objects))
    assert reasons(Folder(tmp_path, "test")) == [
        ("object", "it is marked difficult", f"{tmp_path}/test/a.xml:1")
    ]
    assert reasons(Folder(tmp_path, "val")) == []


def test_a_missing_yolo_file_is_no_empty_one(tmp_path: Path) -> None:
    for split in SPLITS:
        for name in ("empty", "full", "missing"):
            draw_image(tmp_path / split / f"{name}.png", (20, 10), [])
        (tmp_path / split / "empty.txt").write_text("")
        (tmp_path / split / "full.txt").write_text(yolo_row(0, (0, 0, 10, 5), (20, 10)))
    (tmp_path / "classes.txt").write_text("cat")
    dataset = Folder(tmp_path, "test")
    assert [dataset.annotation(index).labels.tolist() for index in range(2)] == [[False], [True]]
    assert reasons(dataset) == [("image", "it has no annotation", f"{tmp_path}/test/missing.png")]


def test_a_split_without_a_usable_image_says_why(tmp_path: Path) -> None:
    images = [f"{split}/{number}.png" for split in SPLITS for number in range(3)]
    write_table(tmp_path, "".join(f"{image},cat,,,,\n" for image in images), *images)
    for number in (0, 2):
        (tmp_path / "val" / f"{number}.png").write_bytes(b"")
    (tmp_path / "val" / "1.png").rename(tmp_path / "val" / "other.png")
    with pytest.raises(InputError) as error:
        Folder(tmp_path, "val")
    for part in (
        "the split 'val'",
        "no usable image",
        "; 2 images skipped: its file cannot be read",
        "val/0.png",
    ):
        assert part in str(error.value)
    assert len(Folder(tmp_path, "train")) == 3


def test_a_table_of_images_that_are_all_elsewhere_says_so(tmp_path: Path) -> None:
    write_table(tmp_path, "/home/me/a.jpg,cat,,,,\n/home/me/b.jpg,cat,,,,\n", "a.jpg", "b.jpg")
    with pytest.raises(InputError, match=r"no usable image; 2 images skipped: its path is absolute"):
        Folder(tmp_path, "train")


def test_headers_of_other_splits_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["voc"](tmp_path)
    opened = []
    original = Image.open

    def counted(path: Path, *args: object, **kwargs: object) -> Image.Image:
        opened.append(path)
        return original(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", counted)
    assert len(Folder(tmp_path, "test")) == len(opened) == 2


# Rotated photographs


def write_rotated(path: Path) -> None:
    """Write an image that is stored 20 wide and 10 high, its left half red, and shown turned to the right."""
    image = Image.new("RGB", (20, 10), "blue")
    image.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=100, exif=exif)


def test_rotated_images_follow_the_size_that_is_stated(tmp_path: Path) -> None:
    for split in SPLITS:
        for name, size in {"shown": (10, 20), "stored": (20, 10), "neither": (30, 10)}.items():
            write_rotated(tmp_path / split / f"{name}.jpg")
            xml = annotation_xml([object_xml("red", (1, 1, 10, 10))], size)
            (tmp_path / split / f"{name}.xml").write_text(xml)
    dataset = Folder(tmp_path, "train")
    assert [Path(dataset.name(index)).stem for index in range(len(dataset))] == ["shown", "stored"]
    assert [dataset.annotation(index).size for index in range(2)] == [(20, 10), (10, 20)]
    for index in range(2):
        image = dataset.image(index)
        assert image.shape[1:] == dataset.annotation(index).size
        # Both ways the box holds the red half, and the blue half is the rest.
        red, blue = image[0].float(), image[2].float()
        assert red[:10, :10].mean() > 200 > red.mean()
        assert blue[:10, :10].mean() < 50 < blue.mean()
    assert reasons(dataset) == [
        ("image", "its annotation states another size than it has", f"{tmp_path}/train/neither.jpg")
    ]


def test_without_a_stated_size_images_are_as_they_are_shown(tmp_path: Path) -> None:
    for split in SPLITS:
        write_rotated(tmp_path / split / "a.jpg")
    write_table(tmp_path, "".join(f"{split}/a.jpg,red,0,0,10,10\n" for split in SPLITS))
    dataset = Folder(tmp_path, "val")
    assert dataset.annotation(0).size == (20, 10)
    assert dataset.image(0).shape == (3, 20, 10)


def test_the_fingerprint_tells_how_an_image_is_read(tmp_path: Path) -> None:
    prints = []
    for size in ((10, 20), (20, 10)):
        for split in SPLITS:
            write_rotated(tmp_path / split / "a.jpg")
            os.utime(tmp_path / split / "a.jpg", (1, 1))
            (tmp_path / split / "a.xml").write_text(annotation_xml([object_xml("red")], size))
        prints.append(Folder(tmp_path, "train").fingerprint(0))
        assert Folder(tmp_path, "train").fingerprint(0) == prints[-1]
    assert prints[0] != prints[1]


# Options


def test_unknown_split_and_missing_root() -> None:
    with pytest.raises(InputError, match=r"unknown split 'valid'. Did you mean 'val'"):
        Folder("/nowhere", "valid")
    with pytest.raises(InputError, match=r"data\.root is not set"):
        Folder(None, "train")
    with pytest.raises(InputError, match=r"cannot read the folder /nowhere"):
        Folder("/nowhere", "train")
    with pytest.raises(InputError, match=r"data\.multi_label is flase; it must be true or false"):
        Folder("/nowhere", "train", multi_label="flase")  # type: ignore[arg-type]


def test_fractions_may_come_from_a_configuration(tmp_path: Path) -> None:
    WRITERS["csv"](tmp_path)
    fractions = OmegaConf.create({"train": 0.5, "val": 0.25, "test": 0.25})
    assert [len(Folder(str(tmp_path), split, fractions=fractions)) for split in SPLITS] == [6, 3, 3]


@pytest.mark.skipif("GUIDANCE_DATA" not in os.environ, reason="GUIDANCE_DATA names no folder of real images")
def test_real_images_of_voc_are_read_as_the_data_set_voc_reads_them() -> None:
    root = Path(os.environ["GUIDANCE_DATA"]) / "voc2007-part"
    dataset, voc = Folder(root / "VOCdevkit" / "VOC2007", "val"), VOC(root, 2007, "val")
    assert dataset.classes == voc.classes
    numbers = {dataset.name(index): index for index in range(len(dataset))}
    assert sorted(numbers) == sorted(voc.name(index) for index in range(len(voc)))
    for index in range(len(voc)):
        found, expected = dataset.annotation(numbers[voc.name(index)]), voc.annotation(index)
        assert found.size == expected.size
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.box_classes, expected.box_classes)
