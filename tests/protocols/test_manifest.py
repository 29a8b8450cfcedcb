"""The manifest is read back as it was, and refused where it does not fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guidance.data import Shapes
from guidance.errors import InputError
from guidance.protocols.manifest import Cell, GridManifest, checksum, make_cells, portable_names

SHAPES = Shapes("test", length={"test": 8})


def manifest() -> GridManifest:
    cells = make_cells(SHAPES, [5, 0, 3, 7], [0, 1, 2, 3], [0.99, 1, 0.995, 1])
    selection = {"rule": "confident", "seed": 3}
    models = ({"name": "a", "weights": "ff"},)
    return GridManifest(2, "test", SHAPES.classes, "annotated", selection, models, (tuple(cells),))


def test_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "manifest.json"
    manifest().write(path)
    read = GridManifest.read(path)
    assert read == manifest()
    assert read.digest() == manifest().digest()
    assert read.target_classes().tolist() == [[0, 1, 2, 3]]
    assert read.find_images(SHAPES, path).tolist() == [[5, 0, 3, 7]]
    content = json.loads(path.read_text())
    assert content["grids"][0][0] == {
        "image": "test-5",
        "checksum": checksum(SHAPES, 5),
        "label": 0,
        "confidence": 0.99,
    }


def test_the_digest_is_of_what_is_shown() -> None:
    ours = manifest()
    grid = ours.grids[0]
    assert ours.digest() == replace(ours, selection={}, models=()).digest()
    moved = (grid[1], grid[0], *grid[2:])
    relabelled = (replace(grid[0], label=4), *grid[1:])
    renamed = (replace(grid[0], image="x"), *grid[1:])
    assert len({replace(ours, grids=(g,)).digest() for g in (grid, moved, relabelled)}) == 3
    assert replace(ours, grids=(renamed,)).digest() == ours.digest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "is no manifest of grids"),
        ("{}", "is no manifest of grids: 'format_version'"),
        ('{"format_version": 9, "grids": []}', "has format 9, this version reads 1"),
        ('{"format_version": 1, "grids": [[{"image": 3}]]}', "is no manifest of grids"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        GridManifest.read(path)
    with pytest.raises(InputError, match=r"protocol.manifest: no file"):
        GridManifest.read(tmp_path / "gone.json")


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    ours = manifest()
    for grids in ((ours.grids[0][:3],), ((*ours.grids[0][:3], Cell("a", "b", 9, 1.0)),), ()):
        replace(ours, grids=grids).write(tmp_path / "manifest.json")
        with pytest.raises(InputError, match="is damaged"):
            GridManifest.read(tmp_path / "manifest.json")


def test_other_data_is_refused() -> None:
    path = Path("manifest.json")
    with pytest.raises(InputError, match=r"of 1 classes \(disk, ...\), the data set has 6"):
        replace(manifest(), classes=("disk",)).find_images(SHAPES, path)
    with pytest.raises(InputError, match=r"2 of the 4 images of manifest.json are not in .* first: test-5"):
        manifest().find_images(Shapes("test", length={"test": 4}), path)
    with pytest.raises(InputError, match=r"test-5 is another image here .* checksum differs"):
        manifest().find_images(Shapes("test", seed=1, length={"test": 8}), path)


class Files(Shapes):
    """Images that are files below some folder."""

    def __init__(self, root: Path, content: str) -> None:
        super().__init__("test", length={"test": 2})
        self._root = root
        for index in range(2):
            Path(self.name(index)).parent.mkdir(parents=True)
            Path(self.name(index)).write_text(content)

    def name(self, index: int) -> str:
        return str(self._root / ("cat", "dog")[index] / "1.png")


def test_names_of_files_are_portable_and_their_content_is_checked(tmp_path: Path) -> None:
    here, there, changed = (
        Files(tmp_path / "a", "x"),
        Files(tmp_path / "b/c", "x"),
        Files(tmp_path / "d", "y"),
    )
    assert portable_names(here) == portable_names(there) == ["cat/1.png", "dog/1.png"]
    assert checksum(here, 0) == checksum(there, 0) != checksum(changed, 0)
