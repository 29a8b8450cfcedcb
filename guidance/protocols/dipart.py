"""DiPart: one head per cell, on features that have seen the whole grid."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from guidance.models import Classifier
from guidance.protocols.difull import head_targets
from guidance.protocols.grid_protocol import GridProtocol
from guidance.protocols.gridpg import refuse_fixed_size
from guidance.protocols.heads_per_cell import HeadsPerCell


class DiPart(GridProtocol):
    """The whole grid through the backbone; each head pools and classifies its own cell's features.

    Rao et al., "Towards Better Understanding Attribution Methods", CVPR 2022 (arXiv 2205.10435). A logit
    depends on other cells as far as the receptive fields of its cell's features reach into them.

    The features are cut at a layer, by default ``final``, so that all that comes after it (global pooling
    and the classifier; in a B-cos network the classifier, a 1x1 convolution, and then pooling) works on one
    cell. Networks that classify by a class token have no such cut.

    Args:
        split: The layer whose output is cut into cells.
        **options: Those of :class:`GridProtocol`.
    """

    title = "DiPart"

    def __init__(self, split: str = "final", **options: Any) -> None:
        super().__init__(**options)
        self.split = split

    def model_for(self, classifier: Classifier, layers: Sequence[str], image_size: int) -> nn.Module:
        """Return the classifier with its features cut into cells.

        Raises:
            InputError: If it was built for images of one size, or classifies by a class token.
        """
        refuse_fixed_size(classifier, image_size, self.n, "dipart")
        return HeadsPerCell(classifier, self.n, self.split, layers)

    def targets(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return the logits of each cell's own head."""
        return head_targets(labels, num_classes)

    def identity(self) -> list[Any]:
        """Return what decides the scores beside grids, models and attributions."""
        return [*super().identity(), self.split]
