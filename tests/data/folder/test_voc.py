from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidance.data.annotation import Skipped
from guidance.data.folder.files import FileTree
from guidance.data.folder.record import ImageRecord
from guidance.data.folder.voc import VocSource
from guidance.data.labelled_object import LabelledObject
from tests.data.voc_tree import annotation_xml, object_xml


def source(root: Path, files: dict[str, str | bytes]) -> VocSource:
    for file, content in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return VocSource(FileTree(root))


def test_objects_and_the_stated_size(tmp_path: Path) -> None:
    objects = [object_xml("a dog", (1, 2, 5, 6)), object_xml("cat", difficult=1)]
    found = source(tmp_path, {"images/a.jpg": "", "annotations/a.xml": annotation_xml(objects), "b.jpg": ""})
    assert found.images == ["images/a.jpg"]
    assert found.files(FileTree(tmp_path)) == ["annotations/a.xml"]
    assert (found.classes, found.has_masks) == (None, False)
    where = f"{tmp_path}/annotations/a.xml:1"
    assert found.read("images/a.jpg") == ImageRecord(
        [LabelledObject("a dog", (0, 1, 5, 6), where)],
        size=(10, 20),
        skipped=(Skipped("object", "it is marked difficult", where),),
    )


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<annotation>", "its annotation file is broken: no element found"),
        ("<annotation></annotation>", "its annotation file is broken: <annotation> has no <size/height>"),
        (
            annotation_xml([object_xml(box=("x", 1, 2, 3))]),
            "its annotation file is broken: <bndbox/xmin> is 'x'",
        ),
    ],
)
def test_a_broken_file_is_counted_with_a_reason_that_names_no_file(
    tmp_path: Path, xml: str, reason: str
) -> None:
    skipped = source(tmp_path, {"a.jpg": "", "a.xml": xml}).read("a.jpg")
    assert isinstance(skipped, Skipped)
    assert (skipped.what, skipped.where) == ("image", f"{tmp_path}/a.xml")
    assert skipped.reason.startswith(reason)
    assert str(tmp_path) not in skipped.reason


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    found = source(tmp_path, {"a.jpg": "", "a.xml": ""})
    (tmp_path / "a.xml").unlink()
    assert found.read("a.jpg") == Skipped("image", "its annotation file cannot be read", f"{tmp_path}/a.xml")


def test_images_that_share_a_file(tmp_path: Path) -> None:
    found = source(tmp_path, {"a.jpg": "", "a.png": "", "a.xml": annotation_xml([])})
    for image in ("a.jpg", "a.png"):
        skipped = found.read(image)
        assert skipped == Skipped(
            "image", "another image has the same annotation file", f"{tmp_path}/{image}"
        )


PARTS = (
    "<annotation>", "</annotation>", "<size>", "</size>", "<width>5</width>", "<height>5</height>",
    "<object>", "</object>", "<name>a</name>", "<bndbox>", "</bndbox>", "<xmin>nan</xmin>", "<ymin>1</ymin>",
    "<xmax>1e9</xmax>", "<ymax>3</ymax>", "<?xml version='1.0' encoding='x'?>",
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(PARTS),
        max_size=20,
    ).map(lambda parts: "".join(parts).encode())
)
def test_any_file_gives_a_record_or_a_skip(tmp_path: Path, content: bytes) -> None:
    result = source(tmp_path, {"a.jpg": "", "a.xml": content}).read("a.jpg")
    assert isinstance(result, ImageRecord | Skipped)
    if isinstance(result, ImageRecord):
        assert b"<size>" in content
