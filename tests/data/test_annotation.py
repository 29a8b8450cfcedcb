import pickle

import pytest
import torch

from guidance.data import Annotation, AnnotationTable


def annotations() -> list[Annotation]:
    def make(
        size: tuple[int, int], labels: list[int], boxes: list[list[float]], classes: list[int], **more: int
    ) -> Annotation:
        return Annotation(
            size,
            torch.tensor(labels, dtype=torch.bool),
            torch.tensor(boxes).reshape(-1, 4),
            torch.tensor(classes, dtype=torch.int64),
            outside=bool(more.get("outside", 0)),
            group=more.get("group", -1),
        )

    return [
        make((10, 20), [1, 0, 1], [[0.0, 1.5, 2.0, 3.0], [4.0, 4.0, 5.0, 5.0]], [0, 2]),
        make((7, 8), [0, 0, 0], [], []),
        make((1, 1), [0, 1, 0], [[0.0, 0.0, 1.0, 1.0]], [1], outside=1, group=3),
    ]


def test_the_table_returns_what_was_put_in() -> None:
    rows = annotations()
    table = AnnotationTable(iter(rows), num_classes=3)
    assert len(table) == 3
    for copy in (table, pickle.loads(pickle.dumps(table))):  # noqa: S301
        for row, found in zip(rows, copy, strict=True):
            assert (found.size, found.outside, found.group) == (row.size, row.outside, row.group)
            for name in ("labels", "boxes", "box_classes"):
                value = getattr(row, name)
                assert torch.equal(getattr(found, name), value)
                assert getattr(found, name).dtype == value.dtype
    assert [row.size for row in table[1:]] == [(7, 8), (1, 1)]
    assert table[-1].group == 3
    assert table.box_counts.tolist() == [2, 0, 1]
    with pytest.raises(IndexError):
        table[3]


def test_an_empty_table_keeps_its_shapes() -> None:
    table = AnnotationTable([], num_classes=4)
    assert (len(table), table.labels.shape, table.boxes.shape) == (0, (0, 4), (0, 4))
    with pytest.raises(IndexError):
        table[-1]


def test_a_row_is_a_view_of_the_table() -> None:
    table = AnnotationTable(annotations(), num_classes=3)
    assert table[0].boxes.data_ptr() == table.boxes.data_ptr()
