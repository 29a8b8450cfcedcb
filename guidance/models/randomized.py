"""Networks whose layers have lost what they learned, from the top down."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guidance.models.classifier import Classifier
from guidance.randomness import hash_integers

Cascade = Literal["blocks", "layers"]


@dataclass(frozen=True)
class Stage:
    """Modules that are randomised together.

    Attributes:
        name: The block, or the path of the one module.
        modules: Their paths within the classifier; each owns parameters.
    """

    name: str
    modules: tuple[str, ...]


def cascade_stages(classifier: Classifier, images: Tensor, cascade: Cascade) -> list[Stage]:
    """Divide a network's modules into stages, from the logits down to the image.

    Args:
        classifier: In evaluation mode.
        images: Run once, to see in which order the modules do; [N, 3, H, W].
        cascade: ``layers``: every module that owns parameters is a stage of its own. ``blocks``: a stage is
            what runs between two of the classifier's named layers; ``head`` is what runs after the last.

    Returns:
        The stages, the one nearest to the logits first. Modules that own parameters and are not called (of
        torch's attention, say) belong to the module around them.
    """
    events = _events(classifier, images)
    inner = _never_called(classifier, [path for path, begins in events if not begins])
    names = {path: name for name, path in classifier.layers.items() if name != "input"}
    stages: list[Stage] = []
    block: list[str] = []
    for path, begins in events:
        if not begins and path in inner:
            own = (path, *inner[path])
            block += own
            if cascade == "layers":
                stages.append(Stage(path.removeprefix("network."), own))
        name = names.get(f"{path}:input" if begins else path)
        if cascade == "blocks" and name is not None and block:
            stages.append(Stage(name, tuple(block)))
            block = []
    if cascade == "blocks" and block:
        stages.append(Stage("head", tuple(block)))
    return stages[::-1]


def randomise(classifier: nn.Module, modules: tuple[str, ...], seed: int) -> None:
    """Permute the entries of every weight, bias and statistic of some modules, each tensor by itself.

    A random permutation destroys what a tensor has learned and keeps the distribution of its values, so that
    activations stay in their range, whatever kind of module it is. What has only one entry, or equal ones,
    stays as it is.

    Args:
        classifier: Changed in place.
        modules: Paths within it; their own parameters and floating buffers are permuted, not those of modules
            inside them.
        seed: A tensor's permutation depends on it and on the tensor's name.
    """
    found = dict(classifier.named_modules())
    with torch.no_grad():
        for path in modules:
            module = found[path]
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, tensor in own:
                if tensor.is_floating_point() and tensor.numel() > 1:
                    generator = torch.Generator().manual_seed(_seed_of(f"{path}.{name}", seed))
                    places = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
                    tensor.copy_(tensor.flatten()[places].view_as(tensor))


def _seed_of(name: str, seed: int) -> int:
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return int(hash_integers(seed, digest))


def _events(classifier: nn.Module, images: Tensor) -> list[tuple[str, bool]]:
    """Return which modules begin (True) and end (False) in a forward pass, each at its first call."""
    events: dict[tuple[str, bool], None] = {}
    handles = []
    for path, module in classifier.named_modules():

        def begun(_: nn.Module, __: Any, path: str = path) -> None:
            events.setdefault((path, True))

        def ended(_: nn.Module, __: Any, ___: Any, path: str = path) -> None:
            events.setdefault((path, False))

        handles += [module.register_forward_pre_hook(begun), module.register_forward_hook(ended)]
    try:
        with torch.no_grad():
            classifier(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    return list(events)


def _never_called(classifier: nn.Module, called: Sequence[str]) -> dict[str, list[str]]:
    """Return the called modules that own parameters, or lie around such that are never called, with these."""
    owners = [path for path, module in classifier.named_modules() if module._parameters]
    inner: dict[str, list[str]] = {path: [] for path in owners if path in called}
    for path in owners:
        around = path
        while around not in called:
            around = around.rpartition(".")[0]
        if around != path:
            inner.setdefault(around, []).append(path)
    return inner
