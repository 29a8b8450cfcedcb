"""How every figure reaches the disk: as a PNG, written atomically."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from guidance.files import replacing


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG of 150 dots per inch; its folder is made if needed."""
    take_names_literally(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def take_names_literally(figure: Figure) -> None:
    """Show texts as they are: names may hold what matplotlib takes for formulas, and refuses to draw."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "\\mathdefault" not in text.get_text():  # which axes write themselves
            text.set_parse_math(False)
