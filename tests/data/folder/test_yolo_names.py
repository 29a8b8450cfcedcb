from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guidance.data.folder.yolo_names import read_yolo_names
from guidance.errors import InputError


def test_one_name_a_line(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufefftraffic light \r\nchien é\n\n", encoding="utf-8")
    assert read_yolo_names(tmp_path) == {0: "traffic light", 1: "chien é"}


@pytest.mark.parametrize("file", ["data.yaml", "dataset.yaml"])
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("path: x\nnames: [cat, dog]", {0: "cat", 1: "dog"}),
        ("names:\n- cat\n- 'dog'", {0: "cat", 1: "dog"}),
        ("names: {0: cat, 1: dog}", {0: "cat", 1: "dog"}),
        ("names:\n  5: dog\n  2: cat", {2: "cat", 5: "dog"}),
        ("names: [no, 1.10, 2024-02-30]", {0: "no", 1: "1.10", 2: "2024-02-30"}),
    ],
)
def test_names_in_yaml(tmp_path: Path, file: str, text: str, names: dict[int, str]) -> None:
    (tmp_path / file).write_text(text)
    found = read_yolo_names(tmp_path)
    assert found == names
    assert list(found) == sorted(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 2", "has no list 'names'"),
        ("", "has no list 'names'"),
        ("- cat", "has no list 'names'"),
        ("names: cat", "has no list 'names'"),
        ("names: {cat: 0}", "has no list 'names'"),
        ("names: []", "at least one class"),
        ("names: [cat, '']", "every class a name"),
        ("names: [cat, [dog]]", "every class a name"),
        ("names: [cat, dog, cat]", "names the class 'cat' twice"),
        ("names: [cat", "cannot read the class names"),
        ("names: &a [*a]", "cannot read the class names"),
        ("[" * 500, "cannot read the class names"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_yolo_names(tmp_path)
    assert str(tmp_path / "data.yaml") in str(error.value)
    assert "\n" not in str(error.value)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [!!python/object/apply:os.getcwd []]")
    with pytest.raises(InputError, match="every class a name"):
        read_yolo_names(tmp_path)


def test_broken_text(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=r"classes\.txt.*UTF-8"):
        read_yolo_names(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n\ndog\n")
    with pytest.raises(InputError, match=r"classes\.txt must give every class a name"):
        read_yolo_names(tmp_path)


def test_no_names_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_yolo_names(tmp_path)
    for part in (str(tmp_path), "class numbers", "classes.txt", "data.yaml", "names: [cat, dog]"):
        assert part in str(error.value)


def test_two_files_must_agree(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    assert read_yolo_names(tmp_path) == {0: "cat", 1: "dog"}
    (tmp_path / "data.yaml").write_text("names: [dog, cat]")
    with pytest.raises(InputError, match=r"classes\.txt and .*data\.yaml have different class names"):
        read_yolo_names(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    st.binary(max_size=50)
    | st.text(max_size=40).map(lambda text: f"names: {text}".encode())
    | st.text(alphabet="!&*[]{}:,- \n'\"0a<|>?", max_size=40).map(lambda text: f"names: {text}".encode())
)
def test_any_file_gives_names_or_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.yaml").write_bytes(content)
    try:
        names = read_yolo_names(tmp_path)
    except InputError:
        return
    assert names
    assert all(isinstance(number, int) and name.strip() for number, name in names.items())
