"""Find a layer by name and keep its activation, whatever its layout, as a feature map."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from guidance.errors import InputError, unknown_name
from guidance.models.dynamic_factors import explained_input, explaining
from guidance.models.factor_tape import playing


def find_layer(model: nn.Module, layer: str) -> tuple[nn.Module, bool]:
    """Find the module whose output (or input) a layer's name stands for.

    Args:
        model: Any module. Names in its attribute ``layers``, a mapping of names to module paths, come
            first (see :class:`guidance.models.Classifier`).
        layer: ``input``, a name in ``model.layers``, or a dotted module path. A path ending in ``:input``
            stands for what goes into that module, e.g. ``avgpool:input``.

    Returns:
        The module, and whether its input is meant. For ``input`` of a model without such a name, the
        model itself and True.

    Raises:
        InputError: If there is no such layer.
    """
    names: dict[str, str] = getattr(model, "layers", {})
    path, _, side = names.get(layer, layer).partition(":")
    modules = dict(model.named_modules())
    if path == "input" and "input" not in names and "input" not in modules:
        return model, True
    if path not in modules or not path or side not in ("", "input"):
        known = {"input", *names}
        hint = unknown_name("layer", layer, {*known, *modules} - {""})
        near = str(hint).split("Known:")[0].strip()
        top = ", ".join(name for name, _ in model.named_children())
        raise InputError(
            f"{near} Known: {', '.join(sorted(known))}, or any module path (attributor.layer); "
            f"the top-level modules are {top}"
        )
    return modules[path], side == "input"


def _channels_last(model: nn.Module, layer: str) -> bool:
    """Return whether a layer of four dimensions holds [N, h, w, C]."""
    module, _ = find_layer(model, layer)
    if layer == "input" or isinstance(module, nn.Conv2d):
        return False
    # Subclasses with 2d in their name bring the channels to the end and back by themselves.
    of_last_dimension = isinstance(module, nn.LayerNorm) and "2d" not in type(module).__name__
    return of_last_dimension or getattr(model, "channels_side", "first") == "last"


class FeatureMapLayout:
    """How what a layer holds is a feature map [N, C, h, w], whatever its layout.

    Of tokens [N, T, C] those of the image, all but the first ``model.prefix_tokens`` (0 if the model has no
    such attribute), become a map of the image's proportions; ``model.channels_side = "last"`` tells that four
    dimensions are [N, h, w, C]. Whatever it says, ``input`` and convolutions hold [N, C, h, w], and
    ``torch.nn.LayerNorm`` holds [N, h, w, C].

    Args:
        model: The model that runs.
        layer: The layer's name.
        size: (H, W) of the images that it runs on; only the proportions matter.
    """

    def __init__(self, model: nn.Module, layer: str, size: tuple[int, int]) -> None:
        self._layer = layer
        self._prefix: int = getattr(model, "prefix_tokens", 0)
        self._channels_last = _channels_last(model, layer)
        self._height, self._width = size

    def read(self, activation: Any) -> Tensor:
        """Return a layer's activation as a feature map [N, C, h, w].

        Raises:
            InputError: If it holds none.
        """
        if not isinstance(activation, Tensor) or activation.ndim not in (3, 4):
            shape = list(activation.shape) if isinstance(activation, Tensor) else type(activation).__name__
            raise InputError(f"layer '{self._layer}' holds no feature map [N, C, h, w] but {shape}")
        if activation.ndim == 3:
            height, width = self._grid(activation)
            of_image: Tensor = activation[:, self._prefix :].transpose(1, 2).unflatten(2, (height, width))
            return of_image
        return activation.permute(0, 3, 1, 2) if self._channels_last else activation

    def write(self, activation: Tensor, feature_map: Tensor) -> Tensor:
        """Return what the layer is to hold instead of an activation: a feature map, in memory of its own.

        Args:
            activation: What the layer held, whose layout is taken over, and of tokens those in front.
            feature_map: [N, C, h, w]; without tokens in front, of any number N.
        """
        if activation.ndim == 3:
            tokens = feature_map.flatten(2).transpose(1, 2)
            in_front = activation[:, : self._prefix].expand(len(tokens), -1, -1)
            return torch.cat([in_front, tokens] if self._prefix else [tokens], dim=1)
        # What follows may write in place (ReLU, +=), which must not reach the feature map.
        return (feature_map.permute(0, 2, 3, 1) if self._channels_last else feature_map).clone()

    def _grid(self, tokens: Tensor) -> tuple[int, int]:
        """Return the (height, width) in tokens of images of these proportions."""
        count = tokens.shape[1] - self._prefix
        height = round(sqrt(count * self._height / self._width)) if count > 0 else 0
        if height < 1 or count % height:
            raise InputError(
                f"layer '{self._layer}' holds {tokens.shape[1]} tokens, of which {self._prefix} are not of "
                "the image; the others do not fill a grid"
            )
        return height, count // height


class KeepActivation:
    """Takes the activation of one layer out of a forward pass and puts it back (:class:`FeatureMapLayout`).

    Args:
        model: The model that runs.
        layer: The layer's name, for messages.
        images: What the model runs on, [N, 3, H, W].
        replacement: What the layer is to hold instead, [N, C, h, w]. While factors are played back,
            explanations of earlier layers go through it all the same.
        explanations_alone: Whether nothing but explanations is differentiated with respect to the activation
            where no parameter, nor image, before it has a gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        images: Tensor,
        replacement: Tensor | None = None,
        explanations_alone: bool = False,
    ) -> None:
        self._layer = layer
        self._layout = FeatureMapLayout(model, layer, (images.shape[-2], images.shape[-1]))
        self._replacement = replacement
        self._explanations_alone = explanations_alone
        self._kept: Tensor | None = None

    def __call__(self, activation: Any) -> Tensor:
        """Keep a layer's activation; return what the model is to go on with.

        Raises:
            InputError: If it holds no feature map, or runs a second time.
        """
        torch.set_grad_enabled(True)
        feature_map = self._layout.read(activation)
        if self._kept is not None:
            raise InputError(
                f"layer '{self._layer}' runs more than once in a forward pass; choose a module that runs once"
            )
        if self._replacement is not None:
            feature_map = _explained_through(self._replacement, feature_map)
        if feature_map.requires_grad:
            self._kept = feature_map
            return self._layout.write(activation, feature_map)
        self._kept = feature_map.detach().requires_grad_()
        written = self._layout.write(activation, self._kept)
        if self._explanations_alone:
            explained_input(self._kept)
            explained_input(written)
        return written

    def kept(self) -> Tensor:
        """Return the activation [N, C, h, w].

        Raises:
            InputError: If the layer did not run.
        """
        if self._kept is None:
            raise InputError(f"layer '{self._layer}' does not run in a forward pass of this model")
        return self._kept


class _ExplainedThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, made_as: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (None, gradients[0]) if explaining() else (gradients[0], None)


def _explained_through(value: Tensor, made_as: Tensor) -> Tensor:
    """Return a value that explanations, if factors are played back, trace back as if made in another way."""
    if not (playing() and made_as.requires_grad):
        return value
    out: Tensor = _ExplainedThrough.apply(value, made_as)
    return out
