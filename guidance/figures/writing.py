"""How every figure reaches the disk: as a PNG, written atomically."""

from pathlib import Path

from matplotlib.figure import Figure

from guidance.files import replacing


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG of 150 dots per inch; its folder is made if needed."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
