from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from guidance.data import PreparedDataset, Skipped, collate
from guidance.data.waterbirds import Waterbirds
from guidance.data.waterbirds.metadata import (
    COLUMNS,
    GROUPS,
    MetadataRow,
    read_metadata,
    write_metadata,
)
from guidance.errors import InputError
from tests.data.waterbirds_tree import (
    BIRD,
    HEIGHT,
    WIDTH,
    bird_mask,
    bird_names,
    write_cub_lists,
    write_image,
    write_released,
    write_segmentations,
)

# y, split, place: four of each in training and testing, two mismatched of five in validation
ROWS = [
    (0, 0, 0),
    (1, 0, 1),
    (0, 0, 1),
    (1, 0, 0),
    (0, 1, 0),
    (0, 1, 1),
    (1, 1, 0),
    (1, 1, 1),
    (0, 1, 0),
    (1, 2, 0),
]
NAMES = bird_names(len(ROWS))
BOX = [12, 8, 28, 24]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [(name, *row) for name, row in zip(NAMES, ROWS, strict=True)]
    return write_released(tmp_path / "waterbirds", rows)


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("\n".join(lines) + "\n")


# What is read


def test_the_conventional_task(root: Path) -> None:
    dataset = Waterbirds(root, "train")
    assert dataset.classes == ("landbird", "waterbird")
    assert not dataset.multi_label
    assert dataset.groups == (
        "landbird on land",
        "landbird on water",
        "waterbird on land",
        "waterbird on water",
    )
    assert len(dataset) == 4
    assert dataset.skipped == ()
    for index, (bird, _, place) in enumerate(ROWS[:4]):
        annotation = dataset.annotation(index)
        assert annotation.labels.tolist() == [bird == 0, bird == 1]
        assert annotation.box_classes.tolist() == [bird]
        assert annotation.boxes.tolist() == [BOX]
        assert annotation.size == (HEIGHT, WIDTH)
        assert not annotation.outside
        assert annotation.group == 2 * bird + place
        assert dataset.name(index) == str(root / NAMES[index])
        assert dataset.image(index).shape == (3, HEIGHT, WIDTH)
    assert dataset.image(3).float().mean(dim=(1, 2)).tolist() == pytest.approx([40, 80, 80], abs=3)


def test_the_reversed_task_has_the_place_as_label_and_its_evidence_outside_the_same_box(root: Path) -> None:
    dataset = Waterbirds(str(root), "train", task="reversed")
    assert dataset.classes == ("land", "water")
    for index, (bird, _, place) in enumerate(ROWS[:4]):
        annotation = dataset.annotation(index)
        assert annotation.labels.tolist() == [place == 0, place == 1]
        assert annotation.box_classes.tolist() == [place]
        assert annotation.boxes.tolist() == [BOX]
        assert annotation.outside
        assert annotation.group == 2 * bird + place
    batch = collate([PreparedDataset(dataset, image_size=HEIGHT)[0]])
    (mask,) = batch.masks(torch.tensor([0]), torch.tensor([0]))
    assert not mask[10:22, 12:20].any()  # 40 pixels became 32
    assert mask.float().mean() == pytest.approx(1 - 16 * 16 / (HEIGHT * WIDTH), abs=0.03)


def test_val_leaves_out_what_training_does_not_show(root: Path) -> None:
    dataset = Waterbirds(root, "val")
    assert [Path(dataset.name(i)).name for i in range(len(dataset))] == [
        Path(NAMES[i]).name for i in (4, 7, 8)
    ]
    reason = "its group is not in a perfectly correlated val"
    assert dataset.skipped == tuple(
        Skipped("image", reason, f"{root}/metadata.csv:{line}") for line in (7, 8)
    )
    everything = Waterbirds(root, "val", val_groups="all")
    assert [everything.annotation(i).group for i in range(len(everything))] == [0, 1, 2, 3, 0]
    assert everything.skipped == ()
    assert len(Waterbirds(root, "test")) == 1


def test_cubs_lists_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    cub = tmp_path / "CUB_200_2011"
    cub.mkdir()
    for name in ("images.txt", "bounding_boxes.txt"):
        (root / name).rename(cub / name)
    with pytest.raises(
        InputError, match=r"waterbirds/images\.txt: data\.cub must be the folder of CUB-200-2011"
    ):
        Waterbirds(root, "train")
    assert Waterbirds(root, "train", cub=cub).annotation(0).boxes.tolist() == [BOX]
    (cub / "bounding_boxes.txt").unlink()
    with pytest.raises(InputError, match=r"CUB_200_2011/bounding_boxes\.txt: data\.cub must be"):
        Waterbirds(root, "train", cub=cub)


@pytest.mark.parametrize("task", ["conventional", "reversed"])
def test_masks_are_the_birds_pixels(root: Path, task: str) -> None:
    assert not Waterbirds(root, "train", task=task).has_masks
    classes, masks = Waterbirds(root, "train", task=task).masks(0)
    assert (classes.shape, masks.shape) == ((0,), (0, HEIGHT, WIDTH))
    write_segmentations(root, NAMES[:4])
    dataset = Waterbirds(root, "train", task=task)
    assert dataset.has_masks
    for index in range(4):
        classes, masks = dataset.masks(index)
        assert classes.tolist() == dataset.annotation(index).box_classes.tolist()
        assert torch.equal(masks, torch.from_numpy(bird_mask() > 127)[None])


def test_a_grey_value_of_127_is_not_the_bird_and_one_of_128_is(root: Path) -> None:
    write_segmentations(root, NAMES[:4])
    pixels = Image.new("L", (WIDTH, HEIGHT), 127)
    pixels.putpixel((3, 2), 128)
    pixels.save(root / "segmentations" / Path(NAMES[0]).with_suffix(".png"))
    assert Waterbirds(root, "train").masks(0)[1].nonzero().tolist() == [[0, 2, 3]]


def test_a_segmentation_of_another_size_or_missing_is_named(root: Path) -> None:
    write_segmentations(root, NAMES[:4])
    path = root / "segmentations" / Path(NAMES[1]).with_suffix(".png")
    Image.new("L", (WIDTH, HEIGHT + 1)).save(path)
    with pytest.raises(InputError, match=r"\.png is 40 x 33 pixels, but its image is 40 x 32"):
        Waterbirds(root, "train").masks(1)
    path.unlink()
    with pytest.raises(InputError, match=rf"1 of 4 files are missing, the first: {path}"):
        Waterbirds(root, "train")


# Boxes that cannot be


@pytest.mark.parametrize(
    ("box", "what", "reason"),
    [
        ("nan 1 5 5", "box", "a coordinate is not a finite number"),
        ("1 1 inf 5", "box", "a coordinate is not a finite number"),
        ("1 1 -5 5", "box", "its corners are swapped"),
        ("1 1 0 5", "box", "it has no area"),
        ("41 1 5 5", "box", "it lies outside the image"),
        ("30 1 50 5", "part of a box", "it reaches outside the image and was clipped"),
    ],
)
def test_a_bad_box_is_counted_and_the_label_stays(root: Path, box: str, what: str, reason: str) -> None:
    replace_line(root / "bounding_boxes.txt", 2, f"2 {box}")
    dataset = Waterbirds(root, "train")
    assert dataset.skipped == (Skipped(what, reason, f"{root}/bounding_boxes.txt:2"),)
    assert dataset.annotation(1).labels.tolist() == [False, True]
    expected = [[30, 1, 40, 6]] if what == "part of a box" else []
    assert dataset.annotation(1).boxes.tolist() == expected
    assert dataset.annotation(0).boxes.tolist() == [BOX]


# Bad input, one by one


def test_options_are_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"unknown split 'valid'. Did you mean 'val'"):
        Waterbirds(root, "valid")
    with pytest.raises(InputError, match=r"unknown data\.task 'reverse'. Did you mean 'reversed'"):
        Waterbirds(root, "val", task="reverse")
    with pytest.raises(InputError, match=r"unknown data\.val_groups 'every'.*all, correlated"):
        Waterbirds(root, "val", val_groups="every")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no .*/nowhere/metadata\.csv: data\.root must be .*python -m guidance"
    ):
        Waterbirds(tmp_path / "nowhere", "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"3,{NAMES[2]},2,0,1,x", r"metadata\.csv:4: y is '2'; it must be 0 or 1"),
        (f"3,{NAMES[2]},,0,1,x", r"metadata\.csv:4: y is ''; it must be 0 or 1"),
        (f"3,{NAMES[2]},1,3,1,x", r"metadata\.csv:4: split is '3'; it must be 0, 1 or 2"),
        (f"3,{NAMES[2]},1,-1,1,x", r"metadata\.csv:4: split is '-1'; it must be 0, 1 or 2"),
        (f"3,{NAMES[2]},1,0,water,x", r"metadata\.csv:4: place is 'water'; it must be 0 or 1"),
        (f"3,{NAMES[2]}", r"metadata\.csv:4: y is ''; it must be 0 or 1"),
        (f"3,{NAMES[0]},0,0,1,x", r"metadata\.csv:4: .*_0000_18\.jpg is the image of line 2 too"),
        (f"3,./{NAMES[0]},0,0,1,x", r"metadata\.csv:4: .*_0000_18\.jpg is the image of line 2 too"),
        ("3,../a.jpg,0,0,1,x", r"metadata\.csv:4: '\.\./a\.jpg' is no file name below"),
        ("3,/a.jpg,0,0,1,x", r"metadata\.csv:4: '/a\.jpg' is no file name below"),
        ("3,,0,0,1,x", r"metadata\.csv:4: '' is no file name below"),
        ("3,a/other.jpg,0,0,1,x", r"metadata\.csv:4: a/other\.jpg is not in .*images\.txt"),
    ],
)
def test_a_bad_line_is_named(root: Path, line: str, message: str) -> None:
    replace_line(root / "metadata.csv", 4, line)
    with pytest.raises(InputError, match=message):
        Waterbirds(root, "train")


def test_an_image_without_a_box_is_named(root: Path) -> None:
    replace_line(root / "bounding_boxes.txt", 4, "")
    with pytest.raises(InputError, match=rf"metadata\.csv:5: {NAMES[3]} has no box in .*bounding_boxes\.txt"):
        Waterbirds(root, "train")
    assert len(Waterbirds(root, "val")) == 3  # it is not in this split


def test_a_missing_or_torn_image_is_named(root: Path) -> None:
    path = root / NAMES[1]
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(InputError, match=rf"cannot read the image {path}"):
        Waterbirds(root, "train")
    path.unlink()
    with pytest.raises(InputError, match=rf"cannot read the image {path}: No such file"):
        Waterbirds(root, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"metadata\.csv:1: the columns img_filename, y, split, place must be there"),
        (b"img_filename,y,split\na.jpg,0,0\n", r"metadata\.csv:1: the column place must be there"),
        (b"img_filename,y,split,place\n", r"metadata\.csv lists no image"),
        (b"img_filename,y,split,place\n\xff,0,0,0\n", r"cannot read .*metadata\.csv: .*utf-8"),
        (b"img_filename,y,split,place\n" + b"x" * 140000 + b",0,0,0\n", r"cannot read .*field larger than"),
        (b"img_filename,y,split,place\na\x00.jpg,0,0,0\n", r"metadata\.csv"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "metadata.csv").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_metadata(tmp_path / "metadata.csv")


def test_a_split_without_images_is_named(root: Path) -> None:
    replace_line(root / "metadata.csv", len(ROWS) + 1, f"9,{NAMES[9]},1,0,0,x")
    with pytest.raises(InputError, match=r"metadata\.csv has no image of the split 'test' \(split 2\)"):
        Waterbirds(root, "test")


def test_other_columns_another_order_quotes_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    text = '\ufeffplace,note,"img_filename",split,y\r\n1,"a, b\nc","a/b, c.jpg",2, 0\r\n0,,d.jpg,1,1'
    (tmp_path / "metadata.csv").write_bytes(text.encode())
    path = tmp_path / "metadata.csv"
    assert read_metadata(path) == [
        MetadataRow("a/b, c.jpg", bird=0, place=1, split=2, where=f"{path}:3"),
        MetadataRow("d.jpg", bird=1, place=0, split=1, where=f"{path}:4"),
    ]


def test_the_table_is_written_with_the_released_columns(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    write_metadata(path, [MetadataRow("a/b.jpg", 1, 0, 2, number="7", place_file="o/ocean/1.jpg")])
    assert (
        path.read_bytes()
        == b"img_id,img_filename,y,split,place,place_filename\n7,a/b.jpg,1,2,0,/o/ocean/1.jpg\n"
    )
    assert len(COLUMNS) == 6
    assert read_metadata(path) == [MetadataRow("a/b.jpg", 1, 0, 2, where=f"{path}:2")]
    assert GROUPS[read_metadata(path)[0].group] == "waterbird on land"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["a.jpg", "b/c.jpg", "0", "1", "2", "nan", "", '"', "\n", "..", "\0", "é", " 1 "]
            ),
            max_size=6,
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_any_table_is_read_or_is_one_input_error(
    tmp_path: Path, lines: list[list[str]], header: bool
) -> None:
    rows = [list(COLUMNS[1:5])] * header + lines
    path = tmp_path / "metadata.csv"
    path.write_text("\n".join(",".join(fields) for fields in rows), encoding="utf-8")
    try:
        found = read_metadata(path)
    except InputError:
        return
    assert found
    assert all(row.file_name and row.bird in (0, 1) and row.place in (0, 1) for row in found)
    assert len({row.file_name for row in found}) == len(found)


def test_images_of_many_sizes(tmp_path: Path) -> None:
    names = bird_names(30)
    root = write_released(tmp_path, [(name, i % 2, 0, i % 2) for i, name in enumerate(names)])
    for i, name in enumerate(names):
        write_image(root / name, (9, 9, 9), size=(40 + i, 60 - i))
    write_cub_lists(root, list(reversed(names)))
    dataset = Waterbirds(root, "train")
    assert [dataset.annotation(i).size for i in range(30)] == [(60 - i, 40 + i) for i in range(30)]
    x, y, width, height = BIRD
    assert dataset.annotation(29).boxes.tolist() == [[x, y, x + width, y + height]]
