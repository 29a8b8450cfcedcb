"""What an export holds once it is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from guidance.attribution import Attributor
from guidance.models import Classifier

FORMAT_VERSION = 1
"""Version of the files that an export consists of."""
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Exported:
    """A classifier and what it takes to use it; unpacks into ``model, attributor, classes``.

    Attributes:
        model: In evaluation mode, on the CPU. Maps RGB in [0, 1], [N, 3, S, S], to logits [N, K]; their
            sigmoid is the probability of each class.
        attributor: Makes the maps that the model was evaluated with.
        classes: The K class names.
        image_size: S; images are squashed to this square (antialiased, bilinear).
        iou_threshold: Where maps, divided by their maximum, were binarised for the IoU.
        provenance: Where the weights come from, as written.
    """

    model: Classifier
    attributor: Attributor
    classes: tuple[str, ...]
    image_size: int
    iou_threshold: float
    provenance: dict[str, Any]

    def __iter__(self) -> Iterator[Any]:
        """Give model, attributor, classes."""
        return iter((self.model, self.attributor, self.classes))
