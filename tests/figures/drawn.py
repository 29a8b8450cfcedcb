"""Looks at what was drawn."""

from pathlib import Path

from matplotlib.image import imread


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def size(path: Path) -> tuple[int, int]:
    picture = imread(path)
    assert float(picture[..., :3].std()) > 0  # something was drawn
    return picture.shape[0], picture.shape[1]
