"""Draw the pictures of docs/concepts.md: ``python docs/figures.py [EXPORT]``; every value is computed.

The maps are hand-made, but those of the picture of layers: they are of an exported classifier.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from guidance.attribution import BcosContributions
from guidance.data import Shapes
from guidance.export import load_exported
from guidance.figures import overlay, show_panel, write_figure
from guidance.losses import EnergyLoss, L1Loss, PPCELoss, RRRLoss
from guidance.maps import energy_in_mask, positive_evidence
from guidance.metrics import AttributionIoU

SIZE = 32
BOX = (15, 12, 27, 26)  # x0, y0, x1, y1; half-open
IMAGES = Path(__file__).parent / "images"
LOSSES: Mapping[str, torch.nn.Module] = {
    "Energy": EnergyLoss(),
    "L1": L1Loss(),
    "PPCE": PPCELoss(),
    "RRR*": RRRLoss(),
}
_INSIDE, _MISSED, _OUTSIDE = "#2e9e5b", "#c9d3e6", "#e07b39"


def mask() -> Tensor:
    """Return the mask of the box, bool [1, S, S]."""
    x0, y0, x1, y1 = BOX
    pixels = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    pixels[:, y0:y1, x0:x1] = True
    return pixels


def spot(x: float, y: float, radius: float) -> Tensor:
    """Return a Gaussian of height 1, float64 [S, S]."""
    axis = torch.arange(SIZE, dtype=torch.float64)
    return torch.exp(-0.5 * ((axis[:, None] - y) ** 2 + (axis - x) ** 2) / radius**2)


def maps() -> dict[str, Tensor]:
    """Return the maps that the losses are shown for, float64 [S, S] each."""
    inside = mask()[0].double()
    return {
        "fills the box": inside,
        "one spot\nin the box": spot(18, 16, 1.5),
        "box, and a spot\nbeside it": 0.6 * inside + spot(6, 7, 2.2),
        "a spot beside it": spot(6, 7, 2.2),
        "the whole image": torch.ones(SIZE, SIZE, dtype=torch.float64),
        "box for, rest\nagainst the class": 2 * inside - 1,
        "nothing": torch.zeros(SIZE, SIZE, dtype=torch.float64),
    }


def scores(attribution: Tensor) -> dict[str, float]:
    """Return every loss and metric of one map, float64 [S, S]."""
    iou = AttributionIoU(threshold=0.5)
    iou.update(attribution[None], mask())
    values = {name: float(loss(attribution[None], mask())) for name, loss in LOSSES.items()}
    return values | {"EPG": float(energy_in_mask(attribution[None], mask())), "IoU": float(iou.compute())}


def show(axes: Axes, attribution: Tensor, title: str, box: str = "#2563eb") -> None:
    """Show a signed map, red for and blue against the class, with the box."""
    limit = max(float(attribution.abs().max()), 1e-12)
    axes.imshow(attribution.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    frame(axes, title, box)


def frame(axes: Axes, title: str, box: str = "#2563eb") -> None:
    """Add title and box."""
    x0, y0, x1, y1 = BOX
    corner = (x0 - 0.5, y0 - 0.5)
    axes.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, linewidth=1.6, edgecolor=box))
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#cccccc")


def draw_losses(path: Path) -> None:
    """Draw the maps, and under each what every loss and metric says of it."""
    examples = maps()
    figure = Figure(figsize=(1.32 * len(examples) + 0.9, 3.5))
    for column, (title, attribution) in enumerate(examples.items()):
        left = (0.9 + 1.32 * column) / figure.get_figwidth()
        width = 1.22 / figure.get_figwidth()
        axes = figure.add_axes((left, 0.49, width, 1.22 / 3.5))
        show(axes, attribution, title)
        for row, (name, value) in enumerate(scores(attribution).items()):
            height = 0.41 - 0.063 * row - (0.045 if row >= len(LOSSES) else 0)
            text = f"{abs(value):.1f}" if value >= 10 else f"{abs(value):.2f}"  # none is below 0, but -0.0
            figure.text(left + width / 2, height, text, ha="center", fontsize=9.5)
            if column == 0:
                figure.text(0.012, height, name, fontsize=9.5, fontweight="bold")
    for height in (0.466, 0.17):
        line = Rectangle((0.012, height), 0.98, 0.002, color="#cccccc", transform=figure.transFigure)
        figure.add_artist(line)
    write_figure(figure, path)


def descended(start: Tensor, loss: Callable[[Tensor, Tensor], Tensor], steps: int = 400) -> Tensor:
    """Return what gradient descent on one loss alone makes of a map (Adam, learning rate 0.02)."""
    attribution = start.clone()[None].requires_grad_()
    optimizer = torch.optim.Adam([attribution], lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(attribution, mask()).sum().backward()
        optimizer.step()
    return attribution.detach()[0]


def draw_descent(path: Path) -> None:
    """Draw a map that looks beside the object, and what each loss makes of it."""
    noise = 0.2 * torch.randn(SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = spot(6, 7, 2.2) + 0.5 * spot(20, 18, 2.5) + noise
    results = {"before": start} | {name: descended(start, loss) for name, loss in LOSSES.items()}
    figure = Figure(figsize=(9.6, 2.35), layout="constrained")
    for number, (name, attribution) in enumerate(results.items(), start=1):
        axes = figure.add_subplot(1, len(results), number)
        show(axes, attribution, name if name == "before" else f"after {name}")
        found = scores(attribution)
        axes.set_xlabel(f"EPG {found['EPG']:.0%}, IoU {found['IoU']:.0%}", fontsize=9)
    write_figure(figure, path)


def draw_metrics(path: Path) -> None:
    """Draw what EPG and IoU count in one map."""
    attribution = 0.9 * spot(20, 18, 3.2) + 0.65 * spot(8, 8, 2.6) - 0.5 * spot(8, 25, 2.5)
    positive = positive_evidence(attribution[None], (SIZE, SIZE))[0]
    inside, found = mask()[0], scores(attribution)
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    first, second, third, fourth = (figure.add_subplot(1, 4, number) for number in range(1, 5))
    show(first, attribution, "a signed map")
    first.set_xlabel("red: for the class\nblue: against it", fontsize=9)
    second.imshow(positive.numpy(), cmap="YlOrRd", interpolation="nearest")
    frame(second, "its positive part A+")
    second.set_xlabel("all that EPG and IoU see", fontsize=9)
    colour = torch.tensor([[0.18, 0.62, 0.36], [0.88, 0.48, 0.22]], dtype=torch.float64)
    strength = (positive / positive.max())[..., None]
    paled = 1 - strength * (1 - torch.where(inside[..., None], colour[0], colour[1]))
    third.imshow(paled.numpy(), interpolation="nearest")
    frame(third, "EPG")
    third.set_xlabel(f"green / (green + orange)\n= {found['EPG']:.0%}", fontsize=9)
    above = (positive - positive.min()) / (positive.max() - positive.min()) > 0.5
    picture = np.ones((SIZE, SIZE, 3))
    for pixels, name in ((inside & above, _INSIDE), (inside & ~above, _MISSED), (~inside & above, _OUTSIDE)):
        picture[pixels.numpy()] = [int(name[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    fourth.imshow(picture, interpolation="nearest")
    frame(fourth, "IoU at a threshold of 0.5")
    fourth.set_xlabel(f"green / (green + grey + orange)\n= {found['IoU']:.0%}", fontsize=9)
    write_figure(figure, path)


def draw_layers(path: Path, export: Path, number: int = 198, name: str = "square") -> None:
    """Draw one test image of the embedded data, explained at five layers of a B-cos network.

    Args:
        path: Where to.
        export: A folder that ``python -m guidance.export`` wrote.
        number: Of the image.
        name: The class.
    """
    model, _, classes = load_exported(export)
    shapes = Shapes("test")
    image, annotation, label = shapes.image(number), shapes.annotation(number), classes.index(name)
    boxes = annotation.boxes[annotation.box_classes == label]
    attributor = BcosContributions(layer=["input", "mid1", "mid2", "mid3", "final"])
    forward = attributor.forward(model, image[None] / 255)
    maps = attributor.attribute_layers(forward, torch.tensor([label]))
    figure = Figure(figsize=(9.6, 1.95), layout="constrained")
    axes = figure.subplots(1, len(maps) + 1)
    show_panel(axes[0], image.permute(1, 2, 0).numpy(), boxes, f"class: {name}")
    for panel, (layer, attribution) in zip(axes[1:], maps.items(), strict=True):
        height, width = attribution.shape[1:]
        show_panel(panel, overlay(image, attribution[0]), boxes, f"{layer}: {height} x {width}")
    write_figure(figure, path)


def main(arguments: list[str], folder: Path = IMAGES) -> None:
    """Draw them.

    Args:
        arguments: The exported classifier, or nothing: then the picture of layers stays as it is.
        folder: Where to.
    """
    draw_losses(folder / "losses.png")
    draw_descent(folder / "descent.png")
    draw_metrics(folder / "metrics.png")
    if arguments:
        draw_layers(folder / "layers.png", Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
