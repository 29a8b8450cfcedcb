"""The manifest of a set of grids: a JSON file that another run, or another machine, evaluates again."""

import hashlib
import json
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidance.data import ImageDataset
from guidance.errors import InputError
from guidance.files import write_json
from guidance.foreign_text import read_json

FORMAT_VERSION = 1
_LARGEST = 2**28  # bytes: some million cells


@dataclass(frozen=True)
class Cell:
    """One image of a grid.

    Attributes:
        image: Its name, without the folders that all images of the split share.
        checksum: SHA-256 of the image's file; of an image that is no file, of what decides it.
        label: The class that is to be found in it.
        confidence: The least that a model gave it when the grids were drawn.
    """

    image: str
    checksum: str
    label: int
    confidence: float


@dataclass(frozen=True)
class GridManifest:
    """G grids of n x n images, and how they were chosen.

    Attributes:
        n: Cells along each side.
        split: Of the data set.
        classes: The names of the K classes that labels are of.
        labels: ``annotated`` or ``predicted``.
        selection: The rule, its least confidence, the seed and the size of the images, for information.
        models: Name and weights (SHA-256) of each model that took part in the choice, for information.
        grids: G times n * n cells, row by row.
    """

    n: int
    split: str
    classes: tuple[str, ...]
    labels: str
    selection: Mapping[str, Any]
    models: tuple[Mapping[str, str], ...]
    grids: tuple[tuple[Cell, ...], ...]

    def target_classes(self) -> Tensor:
        """Return the class of every cell, int64 [G, n * n]."""
        return torch.tensor([[cell.label for cell in grid] for grid in self.grids])

    def digest(self) -> str:
        """Return what identifies the images, their places and labels, whatever chose them."""
        cells = [[(cell.checksum, cell.label) for cell in grid] for grid in self.grids]
        content = json.dumps([self.n, self.labels, self.classes, cells])
        return hashlib.sha256(content.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, atomically."""
        write_json(path, {"format_version": FORMAT_VERSION} | asdict(self))

    @classmethod
    def read(cls, path: Path) -> "GridManifest":
        """Read a manifest.

        Raises:
            InputError: If there is no such file, or it is no manifest of this version.
        """
        if not path.is_file():
            raise InputError(f"protocol.manifest: no file {path}")
        try:
            content = read_json(path, _LARGEST)
        except InputError as error:
            raise InputError(f"protocol.manifest: {error}") from error
        try:
            version = content.pop("format_version")
            if version != FORMAT_VERSION:
                raise InputError(
                    f"protocol.manifest: {path} has format {version}, this version reads {FORMAT_VERSION}"
                )
            grids = tuple(tuple(Cell(**cell) for cell in grid) for grid in content.pop("grids"))
            manifest = cls(
                grids=grids,
                classes=tuple(content.pop("classes")),
                models=tuple(content.pop("models")),
                **content,
            )
            texts = (manifest.split, manifest.labels, *manifest.classes)
            valid = all(isinstance(text, str) for text in texts) and all(
                len(grid) == manifest.n**2 and all(_is_valid(cell, len(manifest.classes)) for cell in grid)
                for grid in grids
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"protocol.manifest: {path} is no manifest of grids: {error}") from error
        if not valid or not grids:
            raise InputError(
                f"protocol.manifest: {path} is damaged: a grid has n * n cells with labels of its classes"
            )
        return manifest

    def find_images(self, dataset: ImageDataset, path: Path) -> Tensor:
        """Find the images in a data set and check that they are the same.

        Args:
            dataset: The split of that name.
            path: Of the manifest, for messages.

        Returns:
            Their indices, int64 [G, n * n].

        Raises:
            InputError: If the classes differ, an image is missing, or is another one.
        """
        if self.labels == "annotated" and self.classes != tuple(dataset.classes):
            raise InputError(
                f"protocol.manifest: {path} has grids of {len(self.classes)} classes "
                f"({', '.join(self.classes[:5])}, ...), the data set has {len(dataset.classes)} "
                f"({', '.join(dataset.classes[:5])}, ...)"
            )
        index_of = {name: index for index, name in enumerate(portable_names(dataset))}
        cells = [cell for grid in self.grids for cell in grid]
        missing = [cell.image for cell in cells if cell.image not in index_of]
        if missing:
            raise InputError(
                f"protocol.manifest: {len(missing)} of the {len(cells)} images of {path} are not in the "
                f"split '{self.split}' of this data set, the first: {missing[0]}"
            )
        indices = [index_of[cell.image] for cell in cells]
        for cell, index in zip(cells, indices, strict=True):
            if checksum(dataset, index) != cell.checksum:
                raise InputError(
                    f"protocol.manifest: {cell.image} is another image here than when {path} was written: "
                    "its checksum differs"
                )
        return torch.tensor(indices).reshape(len(self.grids), self.n * self.n)


def _is_valid(cell: Cell, num_classes: int) -> bool:
    """Say whether a cell's values are of the types that they should be, and its label is that of a class."""
    texts = isinstance(cell.image, str) and isinstance(cell.checksum, str)
    return texts and type(cell.label) is int and 0 <= cell.label < num_classes


def portable_names(dataset: ImageDataset) -> list[str]:
    """Return the images' names without the folder that they share, which differs between machines."""
    names = [Path(dataset.name(index)) for index in range(len(dataset))]
    folders = {str(name.parent) for name in names}
    shared = os.path.commonpath(folders) if len({name.is_absolute() for name in names}) == 1 else ""
    return [name.relative_to(shared).as_posix() if shared else name.as_posix() for name in names]


def checksum(dataset: ImageDataset, index: int) -> str:
    """Return the SHA-256 of an image's file or, if it is none, of its fingerprint."""
    path = Path(dataset.name(index))
    content = path.read_bytes() if path.is_file() else dataset.fingerprint(index).encode()
    return hashlib.sha256(content).hexdigest()


def make_cells(
    dataset: ImageDataset, indices: Sequence[int], labels: Sequence[int], confidences: Sequence[float]
) -> list[Cell]:
    """Describe images of a data set as cells."""
    names = portable_names(dataset)
    return [
        Cell(names[index], checksum(dataset, index), label, round(confidence, 6))
        for index, label, confidence in zip(indices, labels, confidences, strict=True)
    ]
