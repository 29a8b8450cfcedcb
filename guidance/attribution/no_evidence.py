"""No attribution at all, to compare others with."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from guidance.attribution.attributor import Attributor
from guidance.attribution.forward_pass import ForwardPass


class NoEvidence(Attributor):
    """Maps that are zero everywhere: a control for protocols, worse than which no attribution should be."""

    guides: ClassVar[bool] = False

    def __init__(self, layer: str | Sequence[str] = "input") -> None:
        super().__init__(layer)

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        """Return zeros, [N, h, w] of each layer."""
        return [forward.activations[layer].detach().float()[:, 0] * 0 for layer in self.layers]
