import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from guidance.data.annotation import Skipped
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.source import AnnotationSource
from guidance.data.folder.splits import Division, check_fractions, divide
from guidance.errors import InputError

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


class Source(AnnotationSource):
    """All images but those named ``unlabelled``."""

    looked_for = ""

    @staticmethod
    def files(tree: FileTree) -> list[str]:
        return []

    def __init__(self, tree: FileTree, told: Mapping[str, str] | None = None) -> None:
        self.images = [image for image in tree.images if "unlabelled" not in image]
        self._told = told or {}

    def read(self, image: str) -> ImageRecord | Skipped:
        return ImageRecord([])

    def split_of(self, image: str) -> str | None:
        return self._told.get(image)


def divided(
    root: Path,
    *images: str,
    split_by: str = "auto",
    lists: Mapping[str, str] | None = None,
    told: Mapping[str, str] | None = None,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
) -> Division:
    for file, text in {**dict.fromkeys(images, ""), **(lists or {})}.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    tree = FileTree(root)
    return divide(tree, Source(tree, told), split_by, fractions, seed)


def as_lists(division: Division) -> dict[str, list[str]]:
    return {split: list(images) for split, images in division.images.items()}


# Lists


@pytest.mark.parametrize("folder", ["", "splits/", "ImageSets/Main/"])
def test_lists(tmp_path: Path, folder: str) -> None:
    lists = {
        f"{folder}train.txt": "b c\n\na.jpg\r\n",
        f"{folder}val.txt": "\ufeffé.jpg\n./images/d.jpg\n",
        f"{folder}test.txt": "sub/e",
    }
    images = [
        "images/a.jpg",
        "images/b c.png",
        "images/é.jpg",
        "images/d.jpg",
        "images/sub/e.jpg",
        "extra.jpg",
    ]
    division = divided(tmp_path, *images, lists=lists)
    assert as_lists(division) == {
        "train": ["images/a.jpg", "images/b c.png"],
        "val": ["images/d.jpg", "images/é.jpg"],
        "test": ["images/sub/e.jpg"],
    }
    assert division.skipped == [Skipped("image", "no list of a split has it", f"{tmp_path}/extra.jpg")]


def test_lists_win_over_folders_and_may_be_overruled(tmp_path: Path) -> None:
    images = ["train/a.jpg", "val/b.jpg", "test/c.jpg"]
    lists = {"train.txt": "val/b", "val.txt": "test/c", "test.txt": "train/a"}
    assert as_lists(divided(tmp_path, *images, lists=lists))["train"] == ["val/b.jpg"]
    assert as_lists(divided(tmp_path, split_by="folders"))["train"] == ["train/a.jpg"]


def test_entries_that_find_no_image_are_counted_with_their_line(tmp_path: Path) -> None:
    lists = {"train.txt": "a\n\ngone\n../../outside", "val.txt": "b", "test.txt": "c"}
    division = divided(tmp_path, "a.jpg", "b.jpg", "c.jpg", lists=lists)
    assert division.skipped == [
        Skipped("image", "its file is missing", f"{tmp_path}/train.txt:3"),
        Skipped("image", "its path leads out of data.root", f"{tmp_path}/train.txt:4"),
    ]


def test_an_image_in_two_lists(tmp_path: Path) -> None:
    lists = {"train.txt": "a\na", "val.txt": "b", "test.txt": "c\na.jpg"}
    with pytest.raises(InputError) as error:
        divided(tmp_path, "a.jpg", "b.jpg", "c.jpg", lists=lists)
    for part in ("a.jpg is in both", "train.txt", "test.txt", "one split"):
        assert part in str(error.value)


def test_a_list_that_is_missing(tmp_path: Path) -> None:
    lists = {"splits/train.txt": "a", "splits/val.txt": "b"}
    with pytest.raises(InputError) as error:
        divided(tmp_path, "a.jpg", "b.jpg", lists=lists)
    for part in ("split 'test'", f"{tmp_path}/splits/test.txt is missing", "data.split_by=fraction"):
        assert part in str(error.value)


def test_a_list_without_any_image_that_is_there(tmp_path: Path) -> None:
    lists = {"train.txt": "a", "val.txt": "x\ny", "test.txt": "c"}
    with pytest.raises(InputError, match=r"split 'val': .*val\.txt lists no image that is there"):
        divided(tmp_path, "a.jpg", "c.jpg", lists=lists)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"cannot read .*train\.txt.*UTF-8"):
        divided(tmp_path, "a.jpg")


def test_lists_that_are_asked_for_but_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split 'train' .*add train\.txt, val\.txt and test\.txt"):
        divided(tmp_path, "a.jpg", split_by="lists")


# Folders


def test_folders_anywhere_in_the_path(tmp_path: Path) -> None:
    images = ["x/train/images/a.jpg", "images/Valid/b.jpg", "test/train/c.jpg", "extra/d.jpg"]
    division = divided(tmp_path, *images)
    assert as_lists(division) == {
        "train": ["x/train/images/a.jpg"],
        "val": ["images/Valid/b.jpg"],
        "test": ["test/train/c.jpg"],
    }
    assert division.skipped == [Skipped("image", "it is in no folder of a split", f"{tmp_path}/extra/d.jpg")]


def test_the_annotation_file_may_tell_the_split(tmp_path: Path) -> None:
    told = {"images/a.jpg": "val", "images/b.jpg": "train", "train/c.jpg": "test"}
    division = divided(tmp_path, *told, "train/d.jpg", told=told)
    assert as_lists(division) == {
        "train": ["images/b.jpg", "train/d.jpg"],
        "val": ["images/a.jpg"],
        "test": ["train/c.jpg"],
    }


def test_a_missing_folder_is_an_error_with_the_remedy_for_every_split(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        divided(tmp_path, "train/a.jpg", "val/b.jpg")
    for part in ("split 'test'", "a folder named test", "test.txt", "data.split_by=fraction"):
        assert part in str(error.value)


def test_a_folder_without_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image of the split 'test' .* has an annotation"):
        divided(tmp_path, "train/a.jpg", "val/b.jpg", "test/unlabelled.jpg")


# Fractions


def test_fractions_share_nothing_and_leave_nothing_out(tmp_path: Path) -> None:
    images = [f"{number:02d}.jpg" for number in range(20)]
    division = divided(tmp_path, *images, "unlabelled.jpg")
    splits = as_lists(division)
    assert {split: len(found) for split, found in splits.items()} == {"train": 14, "val": 3, "test": 3}
    assert sorted(itertools.chain(*splits.values())) == images
    assert all(found == sorted(found) for found in splits.values())
    assert division.skipped == [Skipped("image", "it has no annotation", f"{tmp_path}/unlabelled.jpg")]


def test_the_seed_decides_and_the_order_of_writing_does_not(tmp_path: Path) -> None:
    images = [f"{number:02d}.jpg" for number in range(20)]
    forward = as_lists(divided(tmp_path / "forward", *images))
    assert as_lists(divided(tmp_path / "backward", *reversed(images))) == forward
    assert as_lists(divided(tmp_path / "forward", seed=1)) != forward


def test_folders_can_be_ignored(tmp_path: Path) -> None:
    division = divided(tmp_path, *(f"train/{number}.jpg" for number in range(9)), split_by="fraction")
    assert [len(images) for images in division.images.values()] == [6, 2, 1]


def test_a_split_that_gets_no_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split 'val': data\.fractions\.val=0\.15 of the 2 labelled images"):
        divided(tmp_path, "a.jpg", "b.jpg")
    everything = {"train": 1.0, "val": 0.0, "test": 0.0}
    with pytest.raises(InputError, match=r"data\.fractions\.val=0\.0 of the 2"):
        divided(tmp_path, fractions=everything)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.7, "val": 0.2, "test": 0.2}, "sum to 1.1"),
        ({"train": 0.7, "val": 0.3}, "must give train, val and test"),
        ({"train": 0.7, "val": 0.2, "test": 0.1, "x": 0}, "must give train, val and test"),
        ({"train": 1.2, "val": -0.1, "test": -0.1}, r"data\.fractions\.train is 1\.2"),
        ({"train": "0.7", "val": 0.2, "test": 0.1}, r"data\.fractions\.train is 0\.7; .*number"),
        (0.7, "must give train, val and test"),
    ],
)
def test_fractions_that_are_none(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_fractions(fractions)


def test_a_seed_that_is_no_integer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.split_seed is x; it must be an integer"):
        divided(tmp_path, "a.jpg", seed="x")  # type: ignore[arg-type]


def test_an_unknown_way_to_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.split_by 'list'. Did you mean 'lists'"):
        divided(tmp_path, "a.jpg", split_by="list")
