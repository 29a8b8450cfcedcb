import torch

from guidance.data import AnnotationTable, Skipped
from guidance.data.check.summary import SkippedCount, annotation_table, count_skipped, counted, summarize
from tests.data.check.listed import Listed, annotation

CAT, DOG = 0, 1


def test_a_split_counted_by_hand() -> None:
    dataset = Listed(
        [
            annotation(
                [CAT, DOG], [(DOG, (0, 0, 20, 10)), (DOG, (0, 0, 5, 5)), (CAT, (1, 1, 2, 2))], group=1
            ),
            annotation([CAT], group=0),
            annotation([], group=1),
            annotation([DOG], [(DOG, (0, 0, 20, 9.95))], outside=True, size=(30, 40)),
        ],
        groups=("day", "night", "dusk"),
    )
    table = annotation_table(dataset, "")
    summary = summarize(dataset, table, torch.tensor([True, True, False, False]), "box")
    assert summary.images == 4
    assert summary.images_without_object == 1
    assert summary.images_with_box == summary.images_without_box == 2
    assert summary.images_with_mask is None
    assert summary.images_to_look_outside == 1
    assert (summary.boxes, summary.boxes_per_image_mean, summary.boxes_per_image_max) == (4, 1.0, 3)
    assert summary.whole_image_boxes == 1
    assert (summary.median_width, summary.median_height) == (20, 10)
    assert summary.images_per_class == {"cat": 2, "dog": 2, "bird": 0}
    assert summary.boxes_per_class == {"cat": 1, "dog": 3, "bird": 0}
    assert summary.images_per_group == {"day": 1, "night": 2, "dusk": 0}
    assert (summary.annotated_images, summary.guidable_images) == (2, 1)


def test_guidance_by_masks_counts_masks() -> None:
    dataset = Listed([annotation([CAT], [(CAT, (0, 0, 2, 2))]), annotation([CAT])], masked=[1])
    table, annotated = annotation_table(dataset, ""), torch.ones(2, dtype=torch.bool)
    unread = summarize(dataset, table, annotated, "mask")
    assert (unread.images_with_mask, unread.guidable_images) == (None, None)
    read = summarize(dataset, table, annotated, "mask", masked=torch.tensor([False, True]))
    assert (read.images_with_mask, read.guidable_images) == (1, 1)
    none = summarize(dataset, table, torch.tensor([True, False]), "mask", masked=torch.tensor([False, True]))
    assert none.guidable_images == 0


def test_a_box_of_an_absent_class_does_not_guide() -> None:
    dataset = Listed([annotation([CAT], [(DOG, (0, 0, 2, 2))])])
    summary = summarize(dataset, annotation_table(dataset, ""), torch.tensor([True]), "box")
    assert (summary.images_with_box, summary.guidable_images) == (1, 0)


def test_the_table_is_the_annotations() -> None:
    dataset = Listed([annotation([CAT], [(CAT, (0, 0, 2, 2))], outside=True), annotation([])])
    table = annotation_table(dataset, "")
    assert isinstance(table, AnnotationTable)
    assert table.labels.tolist() == [[True, False, False], [False] * 3]
    assert table.outside.tolist() == [True, False]


def test_skipped_things_are_counted_by_kind_and_reason() -> None:
    skipped = [Skipped("box", "it has no area", f"a.csv:{line}") for line in range(5)]
    skipped.insert(2, Skipped("image", "it has no area", "b.csv:1"))
    skipped.insert(3, Skipped("box", "it is upside down", "b.csv:2"))
    assert count_skipped(skipped) == (
        SkippedCount("box", "it has no area", 5, ("a.csv:0", "a.csv:1", "a.csv:2")),
        SkippedCount("image", "it has no area", 1, ("b.csv:1",)),
        SkippedCount("box", "it is upside down", 1, ("b.csv:2",)),
    )
    assert count_skipped([]) == ()


def test_numbers_of_things() -> None:
    assert counted(1, "box") == "1 box"
    assert counted(1543, "object") == "1,543 objects"
    assert counted(2, "part of a box") == "2 parts of boxes"
    assert counted(0, "class") == "0 classes"
