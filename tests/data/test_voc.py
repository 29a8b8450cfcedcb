import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from guidance.data import VOC, Skipped
from guidance.data.voc import CLASSES
from guidance.errors import InputError
from tests.data.voc_tree import annotation_xml, object_xml, write_voc

pytestmark = pytest.mark.filterwarnings("ignore:.*capabilities of TorchVision are deprecated.*")

DOG, CAT = CLASSES.index("dog"), CLASSES.index("cat")


def write_one(root: Path, *objects: str) -> Path:
    """Write a tree with one training image; return its annotation file."""
    return write_voc(root, {"000001": objects}, {"train": ["000001"]}) / "Annotations" / "000001.xml"


# What is read


def test_boxes_become_half_open(tmp_path: Path) -> None:
    write_one(
        tmp_path,
        object_xml("dog", (1, 1, 20, 10)),
        object_xml("cat", (3, 4, 3, 4)),
        object_xml("dog", (20, 10, 20, 10)),
    )
    dataset = VOC(tmp_path, 2007, "train")
    sample = dataset.annotation(0)
    assert sample.boxes.tolist() == [[0, 0, 20, 10], [2, 3, 3, 4], [19, 9, 20, 10]]
    assert sample.box_classes.tolist() == [DOG, CAT, DOG]
    assert sample.labels.nonzero().flatten().tolist() == sorted({DOG, CAT})
    assert sample.size == (10, 20)
    assert dataset.image(0).shape == (3, 10, 20)
    assert dataset.image(0).dtype == torch.uint8
    assert len(dataset) == 1
    assert dataset.classes == CLASSES
    assert len(CLASSES) == 20
    assert Path(dataset.name(0)) == tmp_path / "VOCdevkit/VOC2007/JPEGImages/000001.jpg"


def test_root_may_be_the_devkit_itself_and_the_year_a_string(tmp_path: Path) -> None:
    write_one(tmp_path, object_xml())
    assert len(VOC(str(tmp_path / "VOCdevkit"), "2007", "train")) == 1


def test_difficult_objects_count_only_when_kept(tmp_path: Path) -> None:
    write_one(tmp_path, object_xml("dog", difficult=1), object_xml("cat", difficult=None))
    assert VOC(tmp_path, 2007, "train").annotation(0).box_classes.tolist() == [CAT]
    assert not VOC(tmp_path, 2007, "train").annotation(0).labels[DOG]
    assert VOC(tmp_path, 2007, "train", keep_difficult=True).annotation(0).box_classes.tolist() == [DOG, CAT]


@pytest.mark.parametrize("objects", [[], [object_xml(difficult=1)]])
def test_an_image_without_objects_is_kept(tmp_path: Path, objects: list[str]) -> None:
    write_one(tmp_path, *objects)
    sample = VOC(tmp_path, 2007, "train").annotation(0)
    assert not sample.labels.any()
    assert sample.boxes.shape == (0, 4)
    assert sample.box_classes.shape == (0,)


def test_all_classes_in_one_image(tmp_path: Path) -> None:
    write_one(tmp_path, *(object_xml(name) for name in CLASSES))
    sample = VOC(tmp_path, 2007, "train").annotation(0)
    assert sample.labels.all()
    assert sample.box_classes.tolist() == list(range(20))


def test_parts_of_an_object_are_not_objects(tmp_path: Path) -> None:
    person = object_xml("person", (1, 1, 9, 9)).replace(
        "</object>", "<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part></object>"
    )
    write_one(tmp_path, person)
    assert VOC(tmp_path, 2007, "train").annotation(0).boxes.tolist() == [[0, 0, 9, 9]]


def test_a_greyscale_image_is_read_as_rgb(tmp_path: Path) -> None:
    path = write_one(tmp_path).parents[1] / "JPEGImages" / "000001.jpg"
    Image.new("L", (20, 10), 99).save(path)
    image = VOC(tmp_path, 2007, "train").image(0)
    assert image.shape == (3, 10, 20)
    assert (image == 99).all()


def test_splits_of_2007_are_the_official_lists(tmp_path: Path) -> None:
    images: dict[str, list[str]] = {f"{i:06d}": [] for i in range(6)}
    lists = {"train": ["000004", "000001"], "val": ["000002"], "test": ["000005", "000003", "000000"]}
    write_voc(tmp_path, images, lists)
    for split, ids in lists.items():
        dataset = VOC(tmp_path, 2007, split)
        assert [Path(dataset.name(i)).stem for i in range(len(dataset))] == ids


def test_2012_tests_on_the_official_val_and_splits_the_official_train(tmp_path: Path) -> None:
    images: dict[str, list[str]] = {f"2008_{i:06d}": [] for i in range(23)}
    official = {"train": list(images)[:20], "val": list(images)[20:]}
    write_voc(tmp_path, images, official, year=2012)
    names = {}
    for split in ("train", "val", "test"):
        dataset = VOC(tmp_path, 2012, split)
        names[split] = [Path(dataset.name(i)).stem for i in range(len(dataset))]
    assert names["test"] == official["val"]
    assert (len(names["train"]), len(names["val"])) == (18, 2)
    assert sorted(names["train"] + names["val"]) == official["train"]


# Boxes that cannot be


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((9, 2, 5, 5), "its corners are swapped"),
        ((6, 2, 5, 5), "it has no area"),
        ((21, 1, 30, 5), "it lies outside the image"),
        ((1, 11, 5, 12), "it lies outside the image"),
        ((-5, 1, 0, 5), "it lies outside the image"),
        (("nan", 1, 5, 5), "a coordinate is not a finite number"),
    ],
)
def test_an_empty_box_is_dropped_and_its_label_stays(
    tmp_path: Path, box: tuple[float, float, float, float], reason: str
) -> None:
    path = write_one(tmp_path, object_xml("cat") + "\n", object_xml("dog", box))
    dataset = VOC(tmp_path, 2007, "train")
    sample = dataset.annotation(0)
    assert sample.box_classes.tolist() == [CAT]
    assert sample.labels[DOG]
    assert dataset.skipped == (Skipped("box", reason, f"{path}:2"),)


def test_a_box_across_the_edge_is_clipped(tmp_path: Path) -> None:
    path = write_one(tmp_path, object_xml("dog", (-3, 0, 25, 5)), object_xml("cat", (18.5, 8, 21, 10)))
    dataset = VOC(tmp_path, 2007, "train")
    assert dataset.annotation(0).boxes.tolist() == [[0, 0, 20, 5], [17.5, 7, 20, 10]]
    clipped = Skipped("part of a box", "it reaches outside the image and was clipped", f"{path}:1")
    assert dataset.skipped == (clipped, clipped)


def test_what_is_sound_is_not_skipped_and_what_is_difficult_is(tmp_path: Path) -> None:
    path = write_one(tmp_path, object_xml("dog", (1, 1, 20, 10)), "\n\n", object_xml(difficult=1))
    skipped = VOC(tmp_path, 2007, "train").skipped
    assert skipped == (Skipped("object", "it is marked difficult", f"{path}:3"),)
    assert VOC(tmp_path, 2007, "train", keep_difficult=True).skipped == ()


# Segmentations


def write_segmentation(root: Path, pixels: torch.Tensor) -> Path:
    path = write_one(root, object_xml("dog")).parents[1] / "SegmentationClass" / "000001.png"
    path.parent.mkdir()
    image = Image.fromarray(pixels.to(torch.uint8).numpy(), mode="P")
    image.putpalette([(37 * i) % 256 for i in range(768)])
    image.save(path)
    return path


def test_a_segmentation_holds_one_mask_per_class(tmp_path: Path) -> None:
    pixels = torch.zeros(10, 20)
    pixels[1:3, 1:3], pixels[5:, 7:9], pixels[4, 7:9] = DOG + 1, CAT + 1, 255
    pixels[9, 19] = DOG + 1
    write_segmentation(tmp_path, pixels)
    classes, masks = VOC(tmp_path, 2007, "train").masks(0)
    assert classes.tolist() == [CAT, DOG]
    assert torch.equal(masks, torch.stack([pixels == CAT + 1, pixels == DOG + 1]))


def test_an_image_without_a_segmentation_has_no_masks(tmp_path: Path) -> None:
    write_one(tmp_path, object_xml("dog"))
    classes, masks = VOC(tmp_path, 2007, "train").masks(0)
    assert (classes.shape, masks.shape) == ((0,), (0, 10, 20))


def test_a_segmentation_of_another_size_or_torn_is_named(tmp_path: Path) -> None:
    path = write_segmentation(tmp_path, torch.zeros(9, 20))
    dataset = VOC(tmp_path, 2007, "train")
    with pytest.raises(InputError, match=r"000001\.png is 20 x 9 pixels, but its image is 20 x 10"):
        dataset.masks(0)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"cannot read .*000001\.png"):
        dataset.masks(0)


# Bad input, one by one


def test_unknown_year_and_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown year of VOC '2010'.*2007, 2012"):
        VOC(tmp_path, 2010, "train")
    with pytest.raises(InputError, match=r"unknown split 'valid'. Did you mean 'val'"):
        VOC(tmp_path, 2007, "valid")


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        VOC(tmp_path / "nowhere", 2007, "train")
    for part in ("nowhere/VOCdevkit/VOC2007", "data.root", "ImageSets/Main", "data.download=true"):
        assert part in str(error.value)


def test_missing_list(tmp_path: Path) -> None:
    folder = write_one(tmp_path).parents[1]
    (folder / "ImageSets/Main/dog_train.txt").write_text("000001 1\n")
    with pytest.raises(InputError, match=r"val\.txt is missing; available there: train\.txt;"):
        VOC(tmp_path, 2007, "val")


def test_empty_list(tmp_path: Path) -> None:
    write_voc(tmp_path, {}, {"train": []})
    with pytest.raises(InputError, match=r"train\.txt lists no image"):
        VOC(tmp_path, 2007, "train")


@pytest.mark.parametrize(("folder", "suffix"), [("JPEGImages", "jpg"), ("Annotations", "xml")])
def test_missing_files_are_counted_and_the_first_named(tmp_path: Path, folder: str, suffix: str) -> None:
    voc = write_voc(
        tmp_path, {"000001": [], "000002": [], "000003": []}, {"train": ["000001", "000002", "000003"]}
    )
    for number in (2, 3):
        (voc / folder / f"00000{number}.{suffix}").unlink()
    with pytest.raises(InputError, match=rf"2 of the 3 files .*train\.txt.*{folder}/000002\.{suffix}"):
        VOC(tmp_path, 2007, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><size>", "no element found"),
        ("", "no element found"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>', "EntitiesForbidden"),
        ("<annotation></annotation>", "<annotation> has no <size/height>"),
        (annotation_xml([], size=(0, 10)), r"<size> is 0 x 10"),
        (annotation_xml([object_xml("dgo")]), "unknown class 'dgo'. Did you mean 'dog'"),
        (annotation_xml([object_xml().replace("name>", "nom>")]), "<object> has no <name>"),
        (annotation_xml([object_xml().replace("bndbox", "box")]), "<object> has no <bndbox/xmin>"),
        (annotation_xml([object_xml().replace("xmax>", "xm>")]), "<object> has no <bndbox/xmax>"),
        (annotation_xml([object_xml(box=(1, 1, "five", 5))]), "<bndbox/xmax> is 'five'"),
        (annotation_xml([object_xml(box=(1, 1, "", 5))]), "<object> has no <bndbox/xmax>"),
        (annotation_xml([object_xml().replace(">0<", ">maybe<")]), "<difficult> is 'maybe'"),
    ],
)
def test_a_bad_annotation_names_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = write_one(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        VOC(tmp_path, 2007, "train")
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5, -2])
def test_a_truncated_image_is_named(tmp_path: Path, kept: float) -> None:
    path = write_one(tmp_path).parents[1] / "JPEGImages" / "000001.jpg"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    dataset = VOC(tmp_path, 2007, "train")
    with pytest.raises(InputError, match=r"cannot read the image .*000001\.jpg") as error:
        dataset.image(0)
    assert ".cpp" not in str(error.value)


def test_a_file_that_is_no_image_or_is_gone_is_named(tmp_path: Path) -> None:
    path = write_one(tmp_path).parents[1] / "JPEGImages" / "000001.jpg"
    path.write_text("hello")
    dataset = VOC(tmp_path, 2007, "train")
    with pytest.raises(InputError, match=r"000001\.jpg: Unsupported image file"):
        dataset.image(0)
    path.unlink()
    with pytest.raises(InputError, match=r"000001\.jpg: .*No such file"):
        dataset.image(0)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path: Path) -> None:
    path = write_one(tmp_path).parents[1] / "JPEGImages" / "000001.jpg"
    Image.new("RGB", (10, 20)).save(path)
    with pytest.raises(InputError, match=r"000001\.jpg is 10 x 20 pixels.*annotation says 20 x 10"):
        VOC(tmp_path, 2007, "train").image(0)


# Real images


def real_root() -> Path:
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("GUIDANCE_DATA", folder)) / "voc2007-part"


@pytest.mark.skipif(not (real_root() / "VOCdevkit").is_dir(), reason=f"no real VOC images in {real_root()}")
def test_real_images() -> None:
    for split in ("train", "val", "test"):
        dataset = VOC(real_root(), 2007, split)
        kept = VOC(real_root(), 2007, split, keep_difficult=True)
        assert len(dataset) == len(kept) > 100
        for index in range(0, len(dataset), len(dataset) // 10):
            sample = dataset.annotation(index)
            height, width = dataset.image(index).shape[1:]
            assert (sample.boxes[:, :2] >= 0).all()
            assert (sample.boxes[:, :2] < sample.boxes[:, 2:]).all()
            assert (sample.boxes[:, 2:] <= torch.tensor([width, height])).all()
            assert set(sample.box_classes.tolist()) == set(sample.labels.nonzero().flatten().tolist())
            assert len(kept.annotation(index).boxes) >= len(sample.boxes)
