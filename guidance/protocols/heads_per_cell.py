"""A classifier with one head per cell of a grid, each of which sees its own cell's features only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from guidance.attribution.layers import FeatureMapLayout, find_layer
from guidance.errors import InputError
from guidance.models import Classifier
from guidance.protocols.cells import to_cells, to_grids

Hook = Callable[[Any], Tensor]


class HeadsPerCell(nn.Module):
    """Reads grids of n x n images; from some layer on, every cell goes its own way through the classifier.

    The logits are [N, n * n * K]: logit ``cell * K + k`` is that of class k by the head of that cell. The
    cells, row by row, are a batch to what comes after the split. So all heads share the classifier's weights,
    and nothing but its own cell, from the split on, reaches a head.

    Layers hold feature maps of *whole grids* [N, C, n * h, n * w], before and after the split: what a layer
    of the classifier holds for the cells is put together, handed through a module that is the layer as far
    as attributions know (``whole``), and taken apart again. So a method that pools over positions, as
    Grad-CAM does, pools over the grid, and what it says about a cell that the head cannot see shows.

    Args:
        classifier: In evaluation mode, so that images of a batch do not depend on each other.
        n: Cells along each side.
        split: ``input`` separates the cells before the classifier (DiFull); any other layer, whose output is
            cut, after the network has seen the whole grid (DiPart).
        layers: The layers of the classifier that are to be explained, see
            :func:`guidance.attribution.find_layer`; ``input`` is always one.

    Raises:
        InputError: If there is no such layer, or the split leaves the cells connected by a class token.
    """

    def __init__(self, classifier: Classifier, n: int, split: str, layers: Sequence[str] = ()) -> None:
        super().__init__()
        if split != "input" and classifier.prefix_tokens:
            raise InputError(
                "this network classifies by a token that has seen the whole grid, so that its cells cannot "
                "be pooled apart (DiPart): use protocol=difull"
            )
        names = tuple(dict.fromkeys(("input", *layers)))
        for name in (split, *names):
            find_layer(classifier, name)
        self.classifier = classifier
        self.n = n
        self.split = split
        self.whole = nn.ModuleList(nn.Identity() for _ in names)
        self.layers = {name: f"whole.{number}" for number, name in enumerate(names)}

    def forward(self, grids: Tensor) -> Tensor:
        """Map RGB grids in [0, 1], float [N, 3, n * H, n * W], to logits [N, n * n * K]."""
        cells = self.n * self.n
        hooks = [
            (layer, self._explain(layer, whole, grids))
            for layer, whole in zip(self.layers, self.whole, strict=True)
        ]
        if self.split != "input":
            hooks.append((self.split, self._cut(grids)))
        with _hooked(self.classifier, hooks):
            images = to_cells(grids, self.n) if self.split == "input" else grids
            logits: Tensor = self.classifier(images)
        if len(logits) != len(grids) * cells:
            raise InputError(f"the layer '{self.split}', where the cells are separated, did not run")
        return logits.reshape(len(grids), cells * logits.shape[1])

    def _explain(self, layer: str, whole: nn.Module, grids: Tensor) -> Hook:
        """Return what makes a layer of the classifier a feature map of the whole grid."""
        layout = self._layout(layer, grids)

        def explain(activation: Any) -> Tensor:
            feature_map = layout.read(activation)
            if len(feature_map) == len(grids):
                return layout.write(activation, whole(feature_map))
            explained = whole(to_grids(feature_map, self.n))
            return layout.write(activation, to_cells(explained, self.n))

        return explain

    def _cut(self, grids: Tensor) -> Hook:
        """Return what separates the cells."""
        layout = self._layout(self.split, grids)
        return lambda activation: layout.write(activation, to_cells(layout.read(activation), self.n))

    def _layout(self, layer: str, grids: Tensor) -> FeatureMapLayout:
        return FeatureMapLayout(self.classifier, layer, (grids.shape[-2], grids.shape[-1]))


@contextmanager
def _hooked(model: nn.Module, hooks: Sequence[tuple[str, Hook]]) -> Iterator[None]:
    """Let each hook replace what its layer holds, in this order where several are of one layer."""
    handles = []
    try:
        for layer, hook in hooks:
            module, of_input = find_layer(model, layer)
            if of_input:
                handles.append(
                    module.register_forward_pre_hook(lambda _, args, hook=hook: (hook(args[0]), *args[1:]))
                )
            else:
                handles.append(module.register_forward_hook(lambda _, __, output, hook=hook: hook(output)))
        yield
    finally:
        for handle in handles:
            handle.remove()
