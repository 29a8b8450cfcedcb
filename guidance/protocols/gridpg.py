"""GridPG: the grid pointing game."""

from collections.abc import Sequence

from torch import Tensor, nn

from guidance.errors import InputError
from guidance.models import Classifier
from guidance.models.fixed_size import FixedSizeNormalize
from guidance.protocols.grid_protocol import GridProtocol


class GridPG(GridProtocol):
    """The whole grid through one classifier; each cell's class is explained.

    Böhle et al., "Convolutional Dynamic Alignment Networks", CVPR 2021; Rao et al., CVPR 2022. Nothing keeps
    the classifier from using other cells for a class, so a low score may be the fault of the model or of the
    attribution; :class:`~guidance.protocols.DiFull` tells which.

    Arguments are those of :class:`GridProtocol`.
    """

    title = "GridPG"

    def model_for(self, classifier: Classifier, layers: Sequence[str], image_size: int) -> nn.Module:
        """Return the classifier itself.

        Raises:
            InputError: If it was built for images of one size.
        """
        refuse_fixed_size(classifier, image_size, self.n, "gridpg")
        return classifier

    def targets(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return the labels."""
        return labels


def refuse_fixed_size(classifier: Classifier, image_size: int, n: int, protocol: str) -> None:
    """Refuse a classifier that cannot read a grid of n x n of its images.

    Raises:
        InputError: If it was built for images of one size.
    """
    encoding, side = classifier.encoding, n * image_size
    if isinstance(encoding, FixedSizeNormalize) and encoding.size != (side, side):
        raise InputError(
            f"protocol={protocol} shows the network grids of {side} x {side} pixels, and this one was built "
            f"for {encoding.size[0]} x {encoding.size[1]}: use protocol=difull, which shows it one cell at a "
            "time, or a network that reads any size"
        )
