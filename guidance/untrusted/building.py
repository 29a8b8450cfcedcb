"""Models and attributors from plain configurations, of which a stranger's file may say anything."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from guidance.attribution import Attributor
from guidance.errors import InputError
from guidance.models import Classifier
from guidance.untrusted.targets import find_target


def build(node: Any, trusted: Collection[str] = (), **options: Any) -> Any:
    """Build what a configuration names as ``_target_``, with its other keys as arguments.

    A name is called only if :func:`guidance.untrusted.targets.find_target` allows it.

    Args:
        node: Plain values; mappings with ``_target_`` are built, from the inside out.
        trusted: Packages of one's own, e.g. ``my_networks``.
        **options: Further arguments of the outermost.

    Returns:
        What was built; a value without ``_target_`` as it is.

    Raises:
        InputError: If a name is not allowed, or cannot be called like this.
    """
    if isinstance(node, list):
        return [build(entry, trusted) for entry in node]
    if not isinstance(node, Mapping):
        return node
    arguments = {str(key): build(value, trusted) for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return arguments | options
    name = node["_target_"]
    if unknown := [key for key in arguments if key.startswith("_")]:
        raise InputError(f"the configuration of {name} has the key {unknown[0]}; only _target_ is known here")
    called = find_target(name, trusted)
    try:
        return called(**arguments, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot build {name}: {error}") from error


def build_classifier(
    node: Mapping[str, Any], num_classes: int, weights: Mapping[str, Tensor], trusted: Collection[str] = ()
) -> Classifier:
    """Build a model without start weights of its own, in the type of given weights, and load them.

    Args:
        node: Its configuration.
        num_classes: K.
        weights: Its state dict, all parameters of one type.
        trusted: See :func:`build`.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        InputError: If it cannot be built, or the weights are another model's.
    """
    model = build(without_start_weights(node), trusted, num_classes=num_classes)
    if not isinstance(model, Classifier):
        raise InputError(f"{node.get('_target_')} makes no guidance.models.Classifier")
    types = {weights[name].dtype for name, _ in model.named_parameters() if name in weights}
    if len(types) > 1:
        raise InputError(f"the weights are of several types: {', '.join(sorted(map(str, types)))}")
    for dtype in types:
        model.to(dtype)
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(
            f"the weights belong to another model: {str(error).splitlines()[1].strip()}"
        ) from error
    return model.eval()


def build_attributor(node: Mapping[str, Any], model: nn.Module, trusted: Collection[str] = ()) -> Attributor:
    """Build an attributor that fits a model.

    Raises:
        InputError: If it cannot be built, or does not fit.
    """
    attributor = build(node, trusted)
    if not isinstance(attributor, Attributor):
        raise InputError(f"{node.get('_target_')} makes no guidance.attribution.Attributor")
    attributor.check(model)
    return attributor


def without_start_weights(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's configuration that neither downloads nor reads weights."""
    kept = {key: value for key, value in node.items() if key != "checkpoint"}
    return kept | ({"pretrained": False} if "pretrained" in kept else {})
