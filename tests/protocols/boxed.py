"""The coloured images of :mod:`tests.protocols.colours` with a box around each patch, and its mask."""

from pathlib import Path

import torch
from torch import Tensor

from guidance.data import GuidanceDataModule, ImageDataset
from guidance.data.annotation import Annotation
from guidance.models import Classifier
from guidance.protocols import ComparedModel, Evaluation
from tests.protocols.colours import COLOURS, SIDE, Colours, seeing_classifier


class BoxedColours(Colours):
    """Boxes of 4 x 4 pixels; the object is the left half of the patch."""

    has_masks = True

    def _patches(self, index: int) -> list[tuple[int, int, int]]:
        generator = torch.Generator().manual_seed(index)
        places = [torch.randint(4, SIDE - 8, (2,), generator=generator).tolist() for _ in self._labels[index]]
        return [(k, *place) for k, place in zip(self._labels[index], places, strict=True)]

    def annotation(self, index: int) -> Annotation:
        plain = super().annotation(index)
        patches = self._patches(index)
        boxes = torch.tensor([[left, top, left + 4, top + 4] for _, top, left in patches]).float()
        return Annotation(plain.size, plain.labels, boxes, torch.tensor([k for k, _, _ in patches]))

    def masks(self, index: int) -> tuple[Tensor, Tensor]:
        patches = self._patches(index)
        masks = torch.zeros(len(patches), SIDE, SIDE, dtype=torch.bool)
        for mask, (_, top, left) in zip(masks, patches, strict=True):
            mask[top : top + 4, left : left + 2] = True
        return torch.tensor([k for k, _, _ in patches]), masks


def boxed_evaluation(output_dir: Path, *models: Classifier, boxes: bool = True) -> Evaluation:
    """Return an evaluation of networks on the test split, with or without boxes."""

    def dataset(*, split: str) -> ImageDataset:
        kind = BoxedColours if boxes else Colours
        return kind(split, counts=(3,) * len(COLOURS), pairs=2)

    compared = [
        ComparedModel(f"model{number}", model, f"weights{number}")
        for number, model in enumerate(models or (seeing_classifier(),))
    ]
    datamodule = GuidanceDataModule(dataset, image_size=SIDE, batch_size=7)
    return Evaluation(compared, datamodule, "test", 0, output_dir, torch.device("cpu"))
