import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from guidance.data import Shapes, shapes_objects
from guidance.data.shapes import CLASSES
from guidance.data.shapes_scene import CUE_COLOURS
from guidance.errors import InputError

MANY = {"train": 1000, "val": 300, "test": 1000}


def slow_box(mask: Tensor) -> list[int]:
    pixels = [(x, y) for y, row in enumerate(mask.tolist()) for x, seen in enumerate(row) if seen]
    columns, rows = [x for x, _ in pixels], [y for _, y in pixels]
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def checksum(dataset: Shapes, index: int) -> int:
    image = dataset.image(index).long().flatten()
    return int((image * torch.arange(1, len(image) + 1)).sum())


@pytest.fixture(scope="module")
def train() -> Shapes:
    return Shapes("train", length=MANY)


def test_samples_have_the_documented_form(train: Shapes) -> None:
    for index in range(100):
        sample = train.annotation(index)
        assert sample.size == (64, 64)
        assert train.image(index).shape == (3, 64, 64)
        assert train.image(index).dtype == torch.uint8
        assert sample.labels.dtype == torch.bool
        assert sample.boxes.dtype == torch.float32
        assert 1 <= len(sample.boxes) == len(sample.box_classes) <= 4
        assert set(sample.box_classes.tolist()) == set(sample.labels.nonzero().flatten().tolist())


def test_boxes_are_the_extents_of_the_masks(train: Shapes) -> None:
    for index in range(30):
        masks = train.object_masks(index)
        assert masks.dtype == torch.bool
        assert not (masks.sum(0) > 1).any()  # a pixel shows one object
        assert [slow_box(mask) for mask in masks] == train.annotation(index).boxes.tolist()


def test_the_masks_of_a_class_are_the_union_of_its_objects(train: Shapes) -> None:
    several = 0
    for index in range(60):
        annotation, objects = train.annotation(index), train.object_masks(index)
        classes, masks = train.masks(index)
        assert classes.tolist() == annotation.labels.nonzero().flatten().tolist()
        for number, mask in zip(classes.tolist(), masks, strict=True):
            own = [m for m, k in zip(objects, annotation.box_classes.tolist(), strict=True) if k == number]
            assert torch.equal(mask, torch.stack(own).any(dim=0))
            several += len(own) > 1
    assert several > 5


def test_the_fingerprint_tells_images_apart() -> None:
    datasets = [
        Shapes("train"), Shapes("val"), Shapes("train", seed=1), Shapes("train", image_size=48),
        Shapes("train", context_correlation={"train": 0.5}),
    ]  # fmt: skip
    assert len({dataset.fingerprint(index) for dataset in datasets for index in range(2)}) == 10
    assert Shapes("train").fingerprint(7) == Shapes("train").fingerprint(7)


def test_objects_touch_the_images_edges(train: Shapes) -> None:
    boxes = torch.cat([train.annotation(index).boxes for index in range(300)])
    assert boxes.min() == 0
    assert boxes.max() == 64
    assert (boxes[:, :2] < boxes[:, 2:]).all()


def test_enough_of_every_object_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[list[int]] = []  # the objects' whole areas, each time that a placement is accepted
    decide = shapes_objects._all_visible

    def spy(owners: shapes_objects.Owners, areas: list[int]) -> bool:
        decision = decide(owners, areas)
        if decision:
            accepted.append(list(areas))
        return decision

    monkeypatch.setattr(shapes_objects, "_all_visible", spy)
    covered = occluders = 0
    for seed in range(200):
        labels, textures, owners = shapes_objects.place_objects(np.random.default_rng(seed), 64)
        areas = accepted[-1]
        assert len(labels) == len(textures) == len(areas) >= 1
        occluders += bool((owners == len(labels)).any())
        for number, area in enumerate(areas):
            seen = int((owners == number).sum())
            assert 0.4 * area <= seen <= area
            covered += seen < area
    assert occluders > 40
    assert covered > 40


def test_an_image_depends_on_seed_split_and_index_only() -> None:
    forwards, backwards = Shapes("train"), Shapes("train")
    ahead = [checksum(forwards, index) for index in range(20)]
    back = [checksum(backwards, index) for index in reversed(range(20))]
    assert ahead == back[::-1]
    assert ahead == [checksum(forwards, index) for index in range(20)]
    assert ahead != [checksum(Shapes("train", seed=1), index) for index in range(20)]
    assert len({*ahead, *(checksum(Shapes("val"), index) for index in range(20))}) == 40


def test_another_process_draws_the_same_images() -> None:
    code = (
        "from tests.data.test_shapes import checksum; from guidance.data import Shapes; "
        "print([checksum(Shapes('test'), index) for index in (7, 3)])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str([checksum(Shapes("test"), 7), checksum(Shapes("test"), 3)])


def test_changing_a_sample_does_not_change_the_next_reading() -> None:
    dataset = Shapes("train")
    before = checksum(dataset, 0)
    dataset.image(0).zero_()
    dataset.annotation(0).box_classes.zero_()
    assert checksum(dataset, 0) == before
    assert torch.equal(
        dataset.annotation(0).labels.nonzero().flatten(), dataset.annotation(0).box_classes.unique()
    )


def test_every_class_and_number_of_objects_occurs(train: Shapes) -> None:
    samples = [train.annotation(index) for index in range(len(train))]
    rates = torch.stack([sample.labels for sample in samples]).float().mean(0)
    assert ((rates > 0.2) & (rates < 0.4)).all()
    assert set(Counter(len(sample.boxes) for sample in samples)) == {1, 2, 3, 4}
    assert any(len(sample.boxes) > sample.labels.sum() for sample in samples)  # several of one class


def cue_rates(dataset: Shapes) -> tuple[float, float]:
    """Return how often a cue is shown where its class is present, and where it is absent."""
    labels = torch.stack([dataset.annotation(index).labels for index in range(len(dataset))])
    cues = torch.stack([dataset.cues(index) for index in range(len(dataset))])
    return float(cues[labels].float().mean()), float(cues[~labels].float().mean())


def test_the_context_predicts_the_class_in_training_and_not_in_the_test(train: Shapes) -> None:
    assert cue_rates(train) == pytest.approx((0.95, 0.05), abs=0.02)
    assert cue_rates(Shapes("val", length=MANY)) == pytest.approx((0.95, 0.05), abs=0.04)
    assert cue_rates(Shapes("test", length=MANY)) == pytest.approx((0.5, 0.5), abs=0.04)


def test_the_cue_is_in_the_pixels(train: Shapes) -> None:
    # A cue covers about a sixth of the image in its own colour: counting such pixels tells that it is there.
    colours = torch.from_numpy(CUE_COLOURS).float()
    hits, total = 0, 0
    for index in range(200):
        pixels = train.image(index).float().flatten(1).T
        nearest = torch.cdist(pixels, colours)
        seen = ((nearest < 50).float().mean(0) > 0.05) == train.cues(index)
        hits, total = hits + int(seen.sum()), total + len(seen)
    assert hits / total > 0.9


def test_a_cue_lies_away_from_its_own_classs_boxes() -> None:
    # With one class in the image and its cue always shown, the cue's colour is to be outside the boxes.
    dataset = Shapes("train", context_correlation={"train": 1.0})
    inside = outside = 0
    for index in range(150):
        sample = dataset.annotation(index)
        if sample.labels.sum() != 1:
            continue
        colour = torch.from_numpy(CUE_COLOURS).float()[sample.labels].T[:, :, None]
        cue = (dataset.image(index).float() - colour).norm(dim=0) < 50
        boxed = torch.zeros_like(cue)
        for x0, y0, x1, y1 in sample.boxes.int().tolist():
            boxed[y0:y1, x0:x1] = True
        inside, outside = inside + int((cue & boxed).sum()), outside + int((cue & ~boxed).sum())
    assert outside > 10 * inside


def test_other_sizes_scale_with_the_image() -> None:
    small, large = (Shapes("train", image_size=size) for size in (32, 160))
    for index in range(20):
        assert small.image(index).shape == (3, 32, 32)
        assert large.image(index).shape == (3, 160, 160)
        assert large.object_masks(index).flatten(1).any(1).all()
        assert small.object_masks(index).flatten(1).any(1).all()


def test_names_and_classes() -> None:
    dataset = Shapes("val")
    assert dataset.name(17) == "val-17"
    assert dataset.classes == CLASSES
    assert len(CLASSES) == 6
    assert len(dataset) == 400
    with pytest.raises(IndexError):
        dataset.annotation(400)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"unknown split 'valid'.*Did you mean 'val'"):
        Shapes("valid")
    with pytest.raises(InputError, match=r"data\.image_size is 8"):
        Shapes("train", image_size=8)
    with pytest.raises(InputError, match=r"data\.length has no value for the split 'test'"):
        Shapes("test", length={"train": 3})
    with pytest.raises(InputError, match=r"data\.length\.train is 0"):
        Shapes("train", length={"train": 0})
    with pytest.raises(InputError, match=r"data\.context_correlation\.train is 1\.5"):
        Shapes("train", context_correlation={"train": 1.5})
    with pytest.raises(InputError, match="seed of the shapes is -1"):
        Shapes("train", seed=-1)
