"""Occlusion."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidance.attribution.forward_pass import ForwardPass
from guidance.attribution.perturbed import PerturbationAttributor
from guidance.errors import InputError


class Occlusion(PerturbationAttributor):
    """How much the class logit drops while a window over the position is set to zero.

    Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. The window slides over
    the activation of a layer, over all its channels; each position gets the mean drop of the windows that
    cover it. Negative where hiding raises the logit.

    At ``input``, what the network reads after the encoding is set to zero: the mean colour of a network that
    normalises, no colour at all of a B-cos network.

    Windows begin at 0, ``stride``, 2 * ``stride``, ... until one reaches the far edge; that one may reach
    over it. A window at least as large as the map hides all of it at once. Costs one forward pass per window
    and one more: at ``input``, 730 for images of 224 pixels with a window of 16 and a stride of 8.

    Args:
        layer: Where the map is taken.
        window: Height and width of the window, in positions of the layer's map.
        stride: Distance between two windows, in the same unit.
        chunk: The most images in one forward pass.

    Raises:
        InputError: If the window is empty, or the stride leaves positions that no window covers.
    """

    def __init__(
        self, layer: str | Sequence[str] = "input", window: int = 16, stride: int = 8, chunk: int = 64
    ) -> None:
        super().__init__(layer, chunk)
        if window < 1:
            raise InputError(f"attributor.window must be at least 1 position; got {window}")
        if not 1 <= stride <= window:
            raise InputError(
                f"attributor.stride must lie between 1 and attributor.window ({window}), so that every "
                f"position is covered; got {stride}"
            )
        self.window = window
        self.stride = stride

    def explain_layer(self, forward: ForwardPass, layer: str, classes: Tensor) -> Tensor:
        """Return [N, h, w]."""
        activation = forward.activations[layer]
        rows, columns = (self._windows(length, activation.device) for length in activation.shape[-2:])

        def occlude(a: Tensor, _: Tensor, window: Tensor) -> Tensor:
            in_rows, in_columns = rows[window // len(columns)], columns[window % len(columns)]
            return a.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0)

        count = len(rows) * len(columns)
        occluded = self.changed_logits(forward, layer, classes, count, occlude)
        drops = (self.unchanged_logits(forward, classes) - occluded).unflatten(1, (len(rows), len(columns)))
        in_rows, in_columns = rows.to(drops.dtype), columns.to(drops.dtype)
        covered = in_rows.sum(0)[:, None] * in_columns.sum(0)
        sums: Tensor = in_rows.T @ drops @ in_columns
        return sums / covered

    def _windows(self, length: int, device: torch.device) -> Tensor:
        """Return which positions along one side each window covers, bool [windows, length]."""
        last = -(-max(length - self.window, 0) // self.stride) * self.stride
        begin = torch.arange(0, last + 1, self.stride, device=device)[:, None]
        position = torch.arange(length, device=device)
        return (position >= begin) & (position < begin + self.window)
