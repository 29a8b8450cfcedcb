"""A data set and a network whose evidence is known exactly: each class is a colour, and a patch has it."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from guidance.data import GuidanceDataModule, ImageDataset
from guidance.data.annotation import Annotation
from guidance.models import Classifier
from guidance.protocols import ComparedModel, Evaluation

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "cyan": (0, 1, 1)}
SIDE = 16


class Colours(ImageDataset):
    """Black images with a patch of one colour; an image may have a second patch, and so a second class."""

    classes = tuple(COLOURS)

    def __init__(self, split: str, counts: Sequence[int] = (6, 6, 6, 6, 6), pairs: int = 3) -> None:
        self.split = split
        self._labels = [[k] for k, count in enumerate(counts) for _ in range(count)] + [[0, 1]] * pairs

    def __len__(self) -> int:
        return len(self._labels)

    def annotation(self, index: int) -> Annotation:
        labels = torch.zeros(len(COLOURS), dtype=torch.bool)
        labels[self._labels[index]] = True
        return Annotation((SIDE, SIDE), labels, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))

    def image(self, index: int, least: int | None = None) -> Tensor:
        image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
        generator = torch.Generator().manual_seed(index)
        for k in self._labels[index]:
            top, left = torch.randint(4, SIDE - 8, (2,), generator=generator).tolist()
            colour = torch.tensor(list(COLOURS.values())[k], dtype=torch.uint8)
            image[:, top : top + 4, left : left + 4] = 255 * colour[:, None, None]
        return image

    def name(self, index: int) -> str:
        return f"{self.split}-{index}"

    def fingerprint(self, index: int) -> str:
        return f"colours:{index}:{self._labels[index]}"


def seeing_classifier(scale: float = 400.0, prefer: int = -1) -> Classifier:
    """Build a network whose logit k is the amount of colour k.

    Args:
        scale: How fast confidence grows with the amount.
        prefer: A class whose logit is far too high, if any.
    """
    detectors = nn.Conv2d(3, 5, 1)
    weights = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1], [-1, 1, 1]]
    detectors.weight = nn.Parameter(torch.tensor(weights).float()[:, :, None, None])
    detectors.bias = nn.Parameter(torch.tensor([0.0, 0, 0, -2, -1]))
    head = nn.Linear(5, 5)
    head.weight = nn.Parameter(scale * torch.eye(5))
    head.bias = nn.Parameter(torch.tensor([100.0 if k == prefer else -6.0 for k in range(5)]))
    network = nn.Sequential(detectors, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return Classifier(network, nn.Identity(), 5, {"final": "1"}).eval().requires_grad_(False)


def coloured_evaluation(
    output_dir: Path,
    *models: Classifier,
    counts: Sequence[int] = (6, 6, 6, 6, 6),
    pairs: int = 3,
    seed: int = 0,
    own_head: bool = False,
) -> Evaluation:
    """Return an evaluation of networks on the test split of :class:`Colours`."""

    def dataset(*, split: str) -> ImageDataset:
        return Colours(split, counts, pairs)

    pl.seed_everything(0, verbose=False)
    compared = [
        ComparedModel(f"model{number}", model, f"weights{number}", own_head)
        for number, model in enumerate(models or (seeing_classifier(),))
    ]
    datamodule = GuidanceDataModule(dataset, image_size=SIDE, batch_size=7)
    return Evaluation(compared, datamodule, "test", seed, output_dir, torch.device("cpu"))
