"""One picture of a figure, with boxes."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

_BOX_COLOUR = "#2563eb"


def show_panel(axes: Axes, picture: NDArray[Any], boxes: Tensor, caption: str) -> None:
    """Show a picture at its own resolution, its boxes and a caption under it.

    Args:
        axes: Where.
        picture: RGB or RGBA, [H, W, 3] or [H, W, 4] in [0, 1]; what is transparent is white.
        boxes: [M, 4], xyxy, half-open, pixels of ``picture``; M may be 0.
        caption: As it is: names may hold what matplotlib takes for formulas.
    """
    axes.imshow(picture, interpolation="nearest")
    for x0, y0, x1, y1 in boxes.tolist():
        corner, width, height = (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0  # pixel 0 is drawn from -0.5 to 0.5
        for line, colour in ((2.6, "white"), (1.4, _BOX_COLOUR)):
            axes.add_patch(Rectangle(corner, width, height, fill=False, linewidth=line, edgecolor=colour))
    axes.set(xticks=[], yticks=[], xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.set_xlabel(caption, fontsize=9, labelpad=4, parse_math=False)
