"""Find a layer by name and keep its activation during one forward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from guidance.errors import InputError, unknown_name


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


def forward_with_activation(model: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Run a model once and keep the activation at a layer, ready to be differentiated.

    Args:
        model: Maps images to logits.
        images: float [N, 3, H, W].
        layer: See :func:`find_layer`.

    Returns:
        Logits [N, K] and the activation [N, C, h, w], from which the logits were computed. Gradients are
        enabled, whatever the caller's setting.

    Raises:
        InputError: If there is no such layer, it runs not exactly once, or it holds no feature map.
    """
    module, of_input = find_layer(model, layer)
    kept: list[Tensor] = []

    def keep(activation: Any) -> Tensor:
        if not isinstance(activation, Tensor) or activation.ndim != 4:
            shape = list(activation.shape) if isinstance(activation, Tensor) else type(activation).__name__
            raise InputError(f"layer '{layer}' holds no feature map [N, C, h, w] but {shape}")
        if kept:
            raise InputError(
                f"layer '{layer}' runs more than once in a forward pass; choose a module that runs once"
            )
        kept.append(activation if activation.requires_grad else activation.detach().requires_grad_())
        # What follows may write in place (ReLU, +=), which must not reach the activation that was kept.
        return kept[0].clone()

    with torch.enable_grad():
        if of_input:
            handle = module.register_forward_pre_hook(lambda _, args: (keep(args[0]), *args[1:]))
        else:
            handle = module.register_forward_hook(lambda _, __, output: keep(output))
        try:
            logits: Tensor = model(images)
        finally:
            handle.remove()
    if not kept:
        raise InputError(f"layer '{layer}' does not run in a forward pass of this model")
    return logits, kept[0]
