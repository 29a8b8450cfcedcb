"""What a step computed, kept by reference: looked at only where something is not finite."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quantity:
    """A tensor of a step.

    Attributes:
        name: What it is, e.g. ``logits``.
        values: Floating point or integers, [P, ...]; a scalar, [], belongs to no single image.
        rows: The position in the batch that each of the P values belongs to, int64 [P]; None: image p.
    """

    name: str
    values: Tensor
    rows: Tensor | None = None


@dataclass
class StepRecord:
    """The quantities of one training or evaluation step on N images, in the order of their computation.

    Nothing is computed or copied when they are noted.

    Attributes:
        indices: Each image's index in its data set, int64 [N].
        quantities: What was noted.
        guided: The class explained in each image, int64 [N], and whether it counts, bool [N]; one entry for
            each explanation of the batch.
    """

    indices: Tensor
    quantities: list[Quantity] = field(default_factory=list)
    guided: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def note(self, name: str, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """Keep a reference to a tensor, with its graph, and return it; see :class:`Quantity`."""
        self.quantities.append(Quantity(name, values, rows))
        return values

    def value(self, name: str) -> Tensor:
        """Return the tensor last noted under a name.

        Raises:
            KeyError: If there is none.
        """
        for quantity in reversed(self.quantities):
            if quantity.name == name:
                return quantity.values
        raise KeyError(name)

    def detached(self) -> "StepRecord":
        """Return the same record without graphs, which can be kept when the step is over."""
        quantities = [Quantity(one.name, one.values.detach(), one.rows) for one in self.quantities]
        return StepRecord(self.indices, quantities, self.guided)

    def all_finite(self) -> Tensor:
        """Return whether no value is nan or infinite, bool []; does not wait for the device."""
        flags = [torch.isfinite(one.values).all() for one in self.quantities]
        return torch.stack(flags).all()
