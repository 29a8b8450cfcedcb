"""One small data set, written in each format, is the same data set."""

import pickle
from pathlib import Path

import pytest
import torch

from guidance.data.datamodule import GuidanceDataModule
from guidance.data.folder import Folder
from tests.data.folder_tree import CLASSES, EXAMPLES, WRITERS

SPLITS = ("train", "val", "test")


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats_say_the_same(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    seen = {}
    for split in SPLITS:
        dataset = Folder(tmp_path, split)
        assert dataset.classes == CLASSES
        assert (dataset.multi_label, dataset.skipped) == (True, ())
        for index in range(len(dataset)):
            path = Path(dataset.name(index))
            assert path.is_relative_to(tmp_path)
            seen[path.name] = split
            (width, height), objects = EXAMPLES[path.name]
            annotation = dataset.annotation(index)
            assert annotation.size == (height, width)
            assert annotation.boxes.tolist() == [list(box) for _, box in objects]
            assert [CLASSES[k] for k in annotation.box_classes] == [label for label, _ in objects]
            assert {CLASSES[k] for k in annotation.labels.nonzero().flatten()} == {
                label for label, _ in objects
            }
            image = dataset.image(index)
            assert image.shape == (3, height, width)
            for label, (x0, y0, x1, y1) in objects:
                channel = {"red": 0, "blue": 2}[label]
                assert (image[channel, y0:y1, x0:x1] == 255).all()
    assert sorted(seen) == sorted(EXAMPLES)
    assert [list(seen.values()).count(split) for split in SPLITS] == [8, 2, 2]


def test_the_splits_are_the_same_in_all_formats(tmp_path: Path) -> None:
    names = []
    for name, write in WRITERS.items():
        write(tmp_path / name)
        dataset = Folder(tmp_path / name, "train")
        names.append([Path(dataset.name(index)).name for index in range(len(dataset))])
    assert all(found == names[0] for found in names)


def test_masks_are_the_polygons_of_coco(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
        dataset = Folder(tmp_path / name, "train", classes=["red", "blue"])
        assert dataset.has_masks == (name == "coco")
        for index in range(len(dataset)):
            (width, height), objects = EXAMPLES[Path(dataset.name(index)).name]
            classes, masks = dataset.masks(index)
            assert classes.dtype == torch.int64
            assert masks.dtype == torch.bool
            assert masks.shape == (len(classes), height, width)
            if name != "coco":
                assert len(classes) == 0
                continue
            assert {dataset.classes[k] for k in classes} == {label for label, _ in objects}
            for number, mask in zip(classes.tolist(), masks, strict=True):
                expected = torch.zeros(height, width, dtype=torch.bool)
                for label, (x0, y0, x1, y1) in objects:
                    if label == dataset.classes[number]:
                        expected[y0:y1, x0:x1] = True
                assert torch.equal(mask, expected)


@pytest.mark.parametrize("name", WRITERS)
def test_a_data_module_loads_it(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    module = GuidanceDataModule(
        lambda *, split: Folder(tmp_path, split), image_size=16, batch_size=4, num_workers=0
    )
    assert module.classes == CLASSES
    for split in SPLITS:
        batch = module.prepared(split).__getitems__([0, 1])
        assert batch.images.shape == (2, 3, 16, 16)


def test_it_can_be_sent_to_loader_processes(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
        dataset = Folder(tmp_path / name, "train")
        copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - what was just pickled
        assert torch.equal(copy.image(1), dataset.image(1))
        assert torch.equal(copy.masks(1)[1], dataset.masks(1)[1])
