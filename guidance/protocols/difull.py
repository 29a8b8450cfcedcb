"""DiFull: one classifier per cell, disconnected from all other cells."""

from collections.abc import Sequence

from torch import Tensor, nn

from guidance.models import Classifier
from guidance.protocols.grid_protocol import GridProtocol
from guidance.protocols.heads_per_cell import HeadsPerCell


class DiFull(GridProtocol):
    """Each cell alone through backbone and head; each head's logit of its cell's class is explained.

    Rao et al., "Towards Better Understanding Attribution Methods", CVPR 2022 (arXiv 2205.10435). The other
    cells have no influence on the logit, by construction, so evidence that a map shows there is wrong for
    certain. A network of any kind is shown images of its own size.

    Arguments are those of :class:`GridProtocol`.
    """

    title = "DiFull"

    def model_for(self, classifier: Classifier, layers: Sequence[str], image_size: int) -> nn.Module:
        """Return the classifier with the cells separated before it."""
        return HeadsPerCell(classifier, self.n, "input", layers)

    def targets(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return the logits of each cell's own head."""
        return head_targets(labels, num_classes)


def head_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Return where the logits of each cell's own head for its own class are among all heads' logits.

    Args:
        labels: int64 [G, n * n].
        num_classes: K.

    Returns:
        ``cell * K + label``, int64 [G, n * n]; see :class:`HeadsPerCell`.
    """
    return labels + num_classes * labels.new_ones(labels.shape[1]).cumsum(0).sub(1)
