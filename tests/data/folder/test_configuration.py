"""The options as conf/data/folder.yaml passes them on."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from guidance.data.folder import Folder
from guidance.errors import InputError
from tests.data.folder_tree import WRITERS
from tests.tiny import composed


def options(folder: Path, *overrides: str) -> dict[str, Any]:
    """Return what the configuration calls the data set with, besides the split."""
    config = composed(folder, "data=folder", *overrides)
    node = config.data.module.dataset
    assert (node._target_, node._partial_) == ("guidance.data.Folder", True)
    return {key: node[key] for key in node if not key.startswith("_")}


def test_the_defaults_are_those_of_the_class(tmp_path: Path) -> None:
    found = options(tmp_path)
    found["fractions"] = OmegaConf.to_container(found["fractions"])
    expected = {
        name: p.default for name, p in inspect.signature(Folder).parameters.items() if name != "split"
    }
    assert found == expected | {"root": None}
    with pytest.raises(InputError, match=r"data\.root is not set"):
        Folder(split="train", **found)


def test_every_option_arrives(tmp_path: Path) -> None:
    WRITERS["yolo"](tmp_path)
    overrides = (
        "data.format=yolo",
        "data.split_by=fraction",
        "data.fractions={train: 0.5, val: 0.3, test: 0.2}",
        "data.split_seed=3",
        "data.classes=[red,blue]",
        "data.multi_label=false",
    )
    dataset = Folder(split="train", **options(tmp_path, f"data.root={tmp_path}", *overrides))
    directly = Folder(
        tmp_path,
        "train",
        "yolo",
        "fraction",
        {"train": 0.5, "val": 0.3, "test": 0.2},
        3,
        ["red", "blue"],
        False,
    )
    assert dataset.classes == directly.classes == ("red", "blue")
    assert dataset.multi_label is False
    assert dataset.skipped == directly.skipped
    names = [dataset.name(index) for index in range(len(dataset))]
    assert names == [directly.name(index) for index in range(len(directly))]
    assert all(dataset.annotation(index).labels.sum() == 1 for index in range(len(dataset)))


def test_one_fraction_alone_does_not_add_up(tmp_path: Path) -> None:
    WRITERS["csv"](tmp_path)
    with pytest.raises(InputError, match=r"data\.fractions sum to 1\.05; they must sum to 1"):
        Folder(split="train", **options(tmp_path, f"data.root={tmp_path}", "data.fractions.val=0.2"))
