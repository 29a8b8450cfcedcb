from collections.abc import Mapping, Sequence

import pytest

from guidance.data import Annotation, ImageDataset, Skipped, annotated_subset
from guidance.data.batch import Target
from guidance.data.check.reading import Reading
from guidance.data.check.summary import SplitSummary, annotation_table, summarize
from guidance.data.check.verdict import absent_classes, find_problems, find_warnings
from tests.data.check.listed import Box, Listed, annotation

CAT, DOG, BIRD = 0, 1, 2
SMALL: Box = (1, 1, 5, 5)
ALL = annotation([CAT, DOG, BIRD], [(k, SMALL) for k in (CAT, DOG, BIRD)])


def summaries(datasets: Mapping[str, ImageDataset], fraction: float = 1.0) -> dict[str, SplitSummary]:
    target: Target = "box"
    return {
        split: summarize(
            dataset, annotation_table(dataset, ""), annotated_subset(len(dataset), fraction, 0), target
        )
        for split, dataset in datasets.items()
    }


def problems_of(annotations: Sequence[Annotation], fraction: float = 1.0) -> list[str]:
    return find_problems({}, summaries({"train": Listed(annotations)}, fraction), {})


def warnings_of(readings: Mapping[str, Sequence[Reading]] | None = None, **splits: ImageDataset) -> list[str]:
    return find_warnings(summaries(splits), splits, readings or {})


# Problems


def test_sound_data_have_no_problem_and_no_warning() -> None:
    splits = {
        "train": Listed([ALL]),
        "val": Listed([ALL], names="x"),
        "test": Listed([ALL], names="y"),
    }
    readings = {split: [Reading("", False, split)] for split in splits}
    assert find_problems({}, summaries(splits), readings) == []
    assert find_warnings(summaries(splits), splits, readings) == []


def test_no_label_and_no_box() -> None:
    first, second = problems_of([annotation([]), annotation([])])
    assert first.startswith("no training image carries a label")
    assert second.startswith("no training image has a box: ")
    assert second.endswith("use loss=none")


def test_labels_without_boxes_are_a_problem_that_names_the_way_out() -> None:
    (problem,) = problems_of([annotation([CAT])])
    assert "use loss=none" in problem


def test_a_box_that_is_not_annotated_does_not_help() -> None:
    annotations = [annotation([CAT]) for _ in range(10)]
    annotated = int(annotated_subset(10, 0.1, 0).nonzero())
    annotations[(annotated + 1) % 10] = ALL
    (problem,) = problems_of(annotations, fraction=0.1)
    assert "among the 10.00% that are annotated" in problem
    assert "raise data.annotated_fraction" in problem
    annotations[annotated] = ALL
    assert problems_of(annotations, fraction=0.1) == []


def test_only_the_training_split_needs_boxes() -> None:
    assert find_problems({}, summaries({"val": Listed([annotation([])])}), {}) == []


def test_splits_with_one_fault_are_named_together() -> None:
    problems = find_problems({"train": "no folder x", "val": "no folder x", "test": "bad"}, {}, {})
    assert problems == ["train, val: no folder x", "test: bad"]


def test_every_broken_image_is_a_problem() -> None:
    readings = {"train": [Reading("cannot read a"), Reading(""), Reading("cannot read b")]}
    assert find_problems({}, {}, readings) == ["train: cannot read a", "train: cannot read b"]


# Warnings


def test_absent_classes_are_named_up_to_ten() -> None:
    assert absent_classes("val", {"cat": 1, "dog": 2}) == ""
    assert absent_classes("val", {"cat": 0, "dog": 2}) == "val: no image shows 1 of 2 classes: cat"
    many = absent_classes("val", {f"c{i}": 0 for i in range(12)})
    assert many.endswith("12 of 12 classes: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more")


def test_absent_classes_and_missing_boxes_of_each_split() -> None:
    assert warnings_of(
        train=Listed([annotation([CAT, DOG])], "x"), val=Listed([annotation([BIRD])], "y")
    ) == [
        "train: no image shows 1 of 3 classes: bird",
        "val: no image shows 2 of 3 classes: cat, dog",
        "val: no image has a box, so EPG and IoU cannot be measured there",
    ]


@pytest.mark.parametrize(("whole", "expected"), [(9, False), (10, True)])
def test_boxes_of_the_whole_image(whole: int, expected: bool) -> None:
    boxes: list[tuple[int, Box]] = [(CAT, (0, 0, 20, 10))] * whole + [(CAT, SMALL)] * (10 - whole)
    warnings = warnings_of(train=Listed([annotation([CAT, DOG, BIRD], boxes)]))
    assert any("cover the whole image" in warning for warning in warnings) is expected


@pytest.mark.parametrize(
    ("what", "count", "expected"),
    [
        ("image", 1, ["train: 1 of 3 images, test: 1 of 3 images left out: why"]),
        ("box", 1, ["train: 1 of 7 boxes, test: 1 of 7 boxes left out: why"]),
        ("object", 1, ["train: 1 of 7 objects, test: 1 of 7 objects left out: why"]),
        ("part of a box", 1, ["train: 1 of 6 boxes, test: 1 of 6 boxes changed: why"]),
        ("box", 0, []),
    ],
)
def test_much_that_is_skipped(what: str, count: int, expected: list[str]) -> None:
    skipped = (Skipped(what, "why", "a:1"),) * count
    splits = {
        "train": Listed([ALL, ALL], "ab", skipped=skipped),
        "test": Listed([ALL, ALL], "cd", skipped=skipped),
    }
    assert find_warnings(summaries(splits), splits, {}) == expected


def test_little_that_is_skipped_is_no_warning() -> None:
    dataset = Listed([ALL] * 4, skipped=(Skipped("box", "why", "a:1"),))
    assert warnings_of(train=dataset) == []


def test_one_file_in_two_splits() -> None:
    splits = {
        "train": Listed([ALL, ALL], ["x/a.jpg", "x/b.jpg"]),
        "val": Listed([ALL], ["y/a.jpg"]),
        "test": Listed([ALL, ALL, ALL], ["x/b.jpg", "z/c.jpg", "x/a.jpg"]),
    }
    (warning,) = find_warnings(summaries(splits), splits, {})
    assert warning.startswith("2 images of test are in train too, the first: b.jpg")


def test_equal_pixels_in_two_splits_under_two_names() -> None:
    readings = {
        "train": [Reading("", False, "1"), Reading("broken")],
        "val": [Reading("broken"), Reading("", False, "1")],
    }
    (warning,) = warnings_of(readings, train=Listed([ALL, ALL], "ab"), val=Listed([ALL, ALL], "cd"))
    assert warning.startswith("1 image of val is in train too, the first: d;")
