from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from guidance.data import PreparedDataset, collate
from guidance.data.shapes_spurious import ShapesSpurious
from guidance.errors import InputError

GROUPS = ("disk on land", "disk on water", "star on land", "star on water")


def slow_box(mask: Tensor) -> list[int]:
    pixels = [(x, y) for y, row in enumerate(mask.tolist()) for x, seen in enumerate(row) if seen]
    columns, rows = [x for x, _ in pixels], [y for _, y in pixels]
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def checksum(dataset: ShapesSpurious, index: int) -> int:
    image = dataset.image(index).long().flatten()
    return int((image * torch.arange(1, len(image) + 1)).sum())


def groups(dataset: ShapesSpurious) -> list[int]:
    return [dataset.annotation(index).group for index in range(len(dataset))]


@pytest.fixture(scope="module")
def test_split() -> ShapesSpurious:
    return ShapesSpurious("test")


def test_groups_have_exact_sizes(test_split: ShapesSpurious) -> None:
    assert test_split.groups == GROUPS
    assert Counter(groups(test_split)) == {0: 100, 1: 100, 2: 100, 3: 100}
    assert Counter(groups(ShapesSpurious("val"))) == {0: 200, 3: 200}
    few = {"train": 41, "val": 1, "test": 40}
    assert Counter(groups(ShapesSpurious("train", length=few))) == {0: 21, 3: 20}
    assert Counter(groups(ShapesSpurious("val", length=few))) == {0: 1}
    strengths = {"train": 0.9, "test": 0.0}
    assert Counter(groups(ShapesSpurious("train", length=few, confounder=strengths))) == {
        0: 19,
        1: 2,
        2: 2,
        3: 18,
    }
    assert Counter(groups(ShapesSpurious("test", length=few, confounder=strengths))) == {1: 20, 2: 20}


def test_groups_are_mixed_over_the_split(test_split: ShapesSpurious) -> None:
    assert all(10 < count < 40 for count in Counter(groups(test_split)[:100]).values())


@pytest.mark.parametrize(
    ("task", "classes"), [("conventional", ("disk", "star")), ("reversed", ("land", "water"))]
)
def test_labels_boxes_and_masks_of_both_tasks(task: str, classes: tuple[str, str]) -> None:
    dataset = ShapesSpurious("test", task=task)
    assert dataset.classes == classes
    assert not dataset.multi_label
    assert dataset.has_masks
    for index in range(30):
        annotation = dataset.annotation(index)
        bird, place = divmod(annotation.group, 2)
        label = place if task == "reversed" else bird
        assert annotation.labels.tolist() == [label == 0, label == 1]
        assert annotation.box_classes.tolist() == [label]
        assert annotation.outside == (task == "reversed")
        assert annotation.size == (64, 64)
        assert annotation.boxes.dtype == torch.float32
        mask_classes, masks = dataset.masks(index)
        assert mask_classes.tolist() == [label]
        assert masks.shape == (1, 64, 64)
        assert masks.dtype == torch.bool
        assert annotation.boxes.tolist() == [slow_box(masks[0])]
        assert dataset.image(index).shape == (3, 64, 64)
        assert dataset.image(index).dtype == torch.uint8


def test_both_tasks_show_the_same_images(test_split: ShapesSpurious) -> None:
    twin = ShapesSpurious("test", task="reversed")
    for index in range(10):
        assert torch.equal(test_split.image(index), twin.image(index))
        assert torch.equal(test_split.annotation(index).boxes, twin.annotation(index).boxes)
        assert test_split.annotation(index).group == twin.annotation(index).group


def test_the_reversed_tasks_target_is_outside_the_box() -> None:
    dataset = ShapesSpurious("train", task="reversed")
    batch = collate([PreparedDataset(dataset, image_size=64)[3]])
    label = dataset.annotation(3).box_classes
    (target,) = batch.masks(torch.tensor([0]), label)
    x0, y0, x1, y1 = dataset.annotation(3).boxes[0].int().tolist()
    assert not target[y0:y1, x0:x1].any()
    assert int(target.sum()) == 64 * 64 - (x1 - x0) * (y1 - y0)


def test_an_object_lies_whole_in_the_image_and_takes_a_quarter_to_44_percent_of_its_width(
    test_split: ShapesSpurious,
) -> None:
    boxes = torch.cat([test_split.annotation(index).boxes for index in range(400)])
    disks = boxes[torch.tensor(groups(test_split)) < 2]
    widths, heights = disks[:, 2] - disks[:, 0], disks[:, 3] - disks[:, 1]
    assert torch.equal(widths, heights)
    assert 16 <= widths.min() < 18
    assert 26 < widths.max() <= 28
    assert boxes.min() == 0
    assert boxes.max() == 64
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centres.mean(0).tolist() == pytest.approx([32, 32], abs=2)


def test_the_objects_colour_tells_neither_the_object_nor_the_background(test_split: ShapesSpurious) -> None:
    means = torch.stack(
        [test_split.image(i)[:, test_split.masks(i)[1][0]].float().mean(1) for i in range(400)]
    )
    groups_of = torch.tensor(groups(test_split))
    spread = means.std(0)
    for group in range(4):
        # the mean of 100 images wanders by a tenth of their spread
        assert ((means[groups_of == group].mean(0) - means.mean(0)).abs() < 0.35 * spread).all()


def test_the_background_is_in_the_pixels_outside_the_object(test_split: ShapesSpurious) -> None:
    # Blades stand upright: within a column they hardly change, so columns differ from each other; waves lie.
    right = 0
    for index in range(400):
        pixels = test_split.image(index).float().mean(0)
        pixels[test_split.masks(index)[1][0]] = torch.nan
        grey = pixels.numpy()
        columns, rows = np.diff(np.nanmean(grey, axis=0)).std(), np.diff(np.nanmean(grey, axis=1)).std()
        right += bool(columns < rows) == test_split.annotation(index).group % 2
    assert right > 0.95 * 400


def test_the_object_stands_out_from_its_background(test_split: ShapesSpurious) -> None:
    for index in range(100):
        image, mask = test_split.image(index).float(), test_split.masks(index)[1][0]
        assert image[:, mask].std(1).mean() > 1.5 * image[:, ~mask].std(1).mean()


def test_an_image_depends_on_seed_split_and_index_only() -> None:
    forwards, backwards = ShapesSpurious("train"), ShapesSpurious("train")
    ahead = [checksum(forwards, index) for index in range(20)]
    back = [checksum(backwards, index) for index in reversed(range(20))]
    assert ahead == back[::-1]
    assert len({*ahead, *(checksum(ShapesSpurious("val"), index) for index in range(20))}) == 40
    assert ahead != [checksum(ShapesSpurious("train", seed=1), index) for index in range(20)]


def test_the_confounder_changes_backgrounds_and_nothing_else() -> None:
    one, other = ShapesSpurious("train"), ShapesSpurious("train", confounder={"train": 0.5})
    same = 0
    for index in range(60):
        first, second = one.annotation(index), other.annotation(index)
        assert torch.equal(first.labels, second.labels)
        assert torch.equal(first.boxes, second.boxes)
        unchanged = first.group == second.group
        assert torch.equal(one.image(index), other.image(index)) == unchanged
        same += unchanged
    assert 15 < same < 45


def test_changing_a_sample_does_not_change_the_next_reading() -> None:
    dataset = ShapesSpurious("train")
    before, box = checksum(dataset, 0), dataset.annotation(0).boxes.clone()
    dataset.image(0).zero_()
    dataset.masks(0)[1].zero_()
    dataset.annotation(0).boxes.zero_()
    assert checksum(dataset, 0) == before
    assert torch.equal(dataset.annotation(0).boxes, box)
    assert dataset.masks(0)[1].any()


def test_the_fingerprint_tells_images_apart() -> None:
    datasets = [
        ShapesSpurious("train"), ShapesSpurious("val"), ShapesSpurious("train", seed=1),
        ShapesSpurious("train", image_size=48), ShapesSpurious("train", confounder={"train": 0.0}),
    ]  # fmt: skip
    assert len({dataset.fingerprint(index) for dataset in datasets for index in range(2)}) == 10
    reversed_task = ShapesSpurious("train", task="reversed")
    assert reversed_task.fingerprint(7) == ShapesSpurious("train").fingerprint(7)  # the same image


def test_other_sizes_scale_with_the_image() -> None:
    for size in (32, 160):
        dataset = ShapesSpurious("train", image_size=size)
        for index in range(10):
            assert dataset.image(index).shape == (3, size, size)
            x0, y0, x1, y1 = dataset.annotation(index).boxes[0].tolist()
            assert 0.2 * size <= min(x1 - x0, y1 - y0) <= max(x1 - x0, y1 - y0) <= 0.45 * size


def test_names_and_indices() -> None:
    dataset = ShapesSpurious("val")
    assert dataset.name(17) == "val-17"
    assert len(dataset) == 400
    assert len(ShapesSpurious("train")) == 2000
    with pytest.raises(IndexError, match="index 400 is outside the 400 images of the split 'val'"):
        dataset.image(400)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match=r"unknown split 'valid'.*Did you mean 'val'"):
        ShapesSpurious("valid")
    with pytest.raises(InputError, match=r"unknown data\.task 'reverse'. Did you mean 'reversed'"):
        ShapesSpurious("train", task="reverse")
    with pytest.raises(InputError, match=r"data\.image_size is 8; it must be an integer, at least 32"):
        ShapesSpurious("train", image_size=8)
    with pytest.raises(InputError, match=r"data\.length has no value for the split 'test'"):
        ShapesSpurious("test", length={"train": 3})
    with pytest.raises(InputError, match=r"data\.confounder has no value for the split 'test'"):
        ShapesSpurious("test", confounder={"train": 1.0})
    with pytest.raises(InputError, match=r"data\.length\.train is 0"):
        ShapesSpurious("train", length={"train": 0})
    with pytest.raises(InputError, match=r"data\.length\.train is 2\.5; it must be an integer"):
        ShapesSpurious("train", length={"train": 2.5})  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"data\.confounder\.train is 1\.5; it must be a number in \[0, 1\]"):
        ShapesSpurious("train", confounder={"train": 1.5})
    with pytest.raises(InputError, match="seed of the shapes is -1"):
        ShapesSpurious("train", seed=-1)
