from pathlib import Path
from typing import Any

import pytest

from guidance.errors import InputError
from guidance.explain.boxes import box_file, given_boxes, voc_boxes
from tests.data.voc_tree import annotation_xml, object_xml
from tests.explain.small import write_image


def test_boxes_are_cut_off_at_the_image(caplog: pytest.LogCaptureFixture) -> None:
    found = given_boxes([[1, 2.5, 3, 4], [30, 20, 90, 90]], Path("a.png"), (24, 40))
    assert found.tolist() == [[1, 2.5, 3, 4], [30, 20, 40, 24]]
    assert caplog.messages == ["boxes: [30, 20, 90, 90]: it reaches outside the image and was clipped"]
    assert given_boxes([], Path("a.png"), (24, 40)).shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (
            [40, 0, 50, 10],
            r"boxes: \[40, 0, 50, 10\]: it lies outside the image; a.png is 40 pixels wide and 24",
        ),
        ([5, 5, 5, 9], "it has no area"),
        ([9, 5, 5, 9], "its corners are swapped"),
        ([1, 2, 3], r"boxes: \[1, 2, 3\] is no box; boxes is \[\[x0,y0,x1,y1\]"),
        (4, "boxes: 4 is no box"),
        ("abcd", "boxes: abcd is no box"),
        ([1, 2, "x", 4], "must be four numbers"),
    ],
)
def test_wrong_boxes_are_refused(box: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        given_boxes([box], Path("a.png"), (24, 40))


def test_voc_boxes_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = write_image(tmp_path / "a.png", 20, 10)
    xml = tmp_path / "a.xml"
    objects = [
        object_xml("dog", (1, 1, 5, 5)),
        object_xml("cat", (30, 1, 40, 5)),
        object_xml("cow", difficult=1),
        object_xml("cat", (18, 1, 25, 5)),
    ]
    xml.write_text(annotation_xml(objects))
    size, upright, boxes, names = voc_boxes(xml, image)
    assert (size, upright) == ((10, 20), True)
    assert boxes.tolist() == [[0, 0, 5, 5], [17, 0, 20, 5]]
    assert names == ("dog", "cat")
    assert len(caplog.messages) == 2
    other = write_image(tmp_path / "b.png", 21, 10)
    with pytest.raises(InputError, match=r"a.xml is about an image of 20 x 10 pixels; .*b.png is another"):
        voc_boxes(xml, other)


def test_files_and_folders(tmp_path: Path) -> None:
    file = tmp_path / "boxes" / "sub" / "a.xml"
    file.parent.mkdir(parents=True)
    file.touch()
    assert box_file(str(tmp_path / "boxes"), "sub/a.png", of_folder=True) == file
    assert box_file(str(tmp_path / "boxes"), "a.png", of_folder=True) is None
    assert box_file(str(file), "b.png", of_folder=False) == file
    with pytest.raises(InputError, match=r"boxes: no file or folder .*gone"):
        box_file(str(tmp_path / "gone"), "a.png", of_folder=False)
    with pytest.raises(InputError, match="is of one image, but image names a folder"):
        box_file(str(file), "a.png", of_folder=True)
