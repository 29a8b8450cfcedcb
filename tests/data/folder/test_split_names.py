import pytest

from guidance.data.folder.split_names import split_of_folders, split_of_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("train2017", "train"),
        ("val", "val"), ("valid", "val"), ("VALIDATION", "val"), ("val2014", "val"),
        ("test", "test"), ("testing", "test"),
        ("trains", None), ("my train", None), ("train1", None), ("2017", None), ("", None),
    ],
)  # fmt: skip
def test_names(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/images/a.jpg", "train"),
        ("images/val/a.jpg", "val"),
        ("x/test/y/a.jpg", "test"),
        ("test/train/a.jpg", "test"),
        ("train.jpg", None),
        ("images/train.jpg", None),
    ],
)
def test_folders(path: str, split: str | None) -> None:
    assert split_of_folders(path) == split
