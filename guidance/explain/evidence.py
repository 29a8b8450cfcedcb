"""What a model sees in an image: maps, and their evidence in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidance.attribution import GradientAttributor
from guidance.explain.explainer import Explainer
from guidance.explain.subject import Subject
from guidance.figures import rgba_explanation
from guidance.maps import energy_in_mask, positive_evidence
from guidance.models import added_bias, has_positional_share, positional_share

_AT_ONCE = 16  # classes of an image


@dataclass(frozen=True)
class Evidence:
    """One class, in one image, as one model sees it at one layer.

    A dynamic linear model's contributions, its bias and its positional share sum up to the logit where the
    layer is the input.

    Attributes:
        image: Its name.
        model: The explainer's name.
        layer: Where the map is taken.
        class_name: The class.
        probability: Of the class.
        logit: Of the class.
        positive: The sum of the positive evidence A+, at the size of the image but scaled as the map is, so
            that the numbers of positions cancel.
        inside: The part of it that lies where it should, in the boxes; None without a box.
        contributions: The sum of the signed map.
        bias: What a dynamic linear model adds to the logit; None for other attributions.
        positional: What its positional embedding contributes; None if it has none or the map includes it.
    """

    image: str
    model: str
    layer: str
    class_name: str
    probability: float
    logit: float
    positive: float
    inside: float | None
    contributions: float
    bias: float | None
    positional: float | None

    @property
    def share_inside(self) -> float | None:
        """The energy pointing game's score: inside / positive, 0 without evidence, None without a box."""
        if self.inside is None:
            return None
        return self.inside / self.positive if self.positive > 0 else 0.0


@dataclass(frozen=True)
class Explanation:
    """P classes of one image, as one model sees them at one layer.

    Attributes:
        maps: signed [P, h, w].
        evidence: Of each class.
        rgba: The weights as pictures, [P, 4, S, S]; None for other than dynamic linear maps at the input.
    """

    maps: Tensor
    evidence: list[Evidence]
    rgba: Tensor | None


def classify(explainer: Explainer, subject: Subject) -> dict[str, float]:
    """Return the probability of each class."""
    with torch.no_grad():
        logits = explainer.model(explainer.images(subject.squashed(explainer.image_size)))
    return dict(zip(explainer.classes, explainer.probabilities(logits)[0].tolist(), strict=True))


def explain_classes(explainer: Explainer, subject: Subject, names: Sequence[str]) -> list[Explanation]:
    """Explain some classes of an image.

    Args:
        explainer: Model and attributor.
        subject: The image.
        names: Of P >= 1 of the model's classes.

    Returns:
        One explanation per layer of the attributor, on the CPU.
    """
    model, attributor, side = explainer.model, explainer.attributor, explainer.image_size
    image = subject.squashed(side)
    classes = torch.tensor([explainer.classes.index(name) for name in names])
    classes = classes.to(explainer.images(image).device)
    logits, layers = [], []
    for chunk in classes.split(_AT_ONCE):
        forward = attributor.forward(model, explainer.images(image, len(chunk)))
        logits.append(forward.logits.detach())
        layers.append(attributor.attribute_layers(forward, chunk))
        del forward
    all_logits = torch.cat(logits).cpu()
    own = classes.cpu()[:, None]
    probabilities = explainer.probabilities(all_logits).gather(1, own)[:, 0].tolist()
    class_logits = all_logits.gather(1, own)[:, 0].tolist()
    masks, boxed = subject.masks(names, side), subject.boxed(names)

    explanations = []
    for layer in attributor.layers:
        maps = torch.cat([part[layer] for part in layers]).cpu()
        scale = maps[0].numel() / side**2
        positive = positive_evidence(maps.double(), (side, side)).sum((1, 2)) * scale
        inside = positive * energy_in_mask(maps.double(), masks)
        at_input = explainer.dynamic_linear and layer == "input"
        positional: list[float | None] = [None] * len(names)
        if at_input and has_positional_share(model):
            positional = positional_share(model, explainer.images(image, len(names)), classes).tolist()
        evidence = [
            Evidence(
                image=subject.name,
                model=explainer.name,
                layer=layer,
                class_name=name,
                probability=probabilities[i],
                logit=class_logits[i],
                positive=float(positive[i]),
                inside=float(inside[i]) if boxed[i] else None,
                contributions=float(maps[i].double().sum()),
                bias=added_bias(model) if explainer.dynamic_linear else None,
                positional=positional[i],
            )
            for i, name in enumerate(names)
        ]
        rgba = _pictures(explainer, image, classes) if at_input else None
        explanations.append(Explanation(maps, evidence, rgba))
    return explanations


def _pictures(explainer: Explainer, image: Tensor, classes: Tensor) -> Tensor | None:
    """Return the weights of each class as a picture, [P, 4, S, S]; None if the input has not 6 channels."""
    assert isinstance(explainer.attributor, GradientAttributor)  # noqa: S101 - dynamic linear
    at = explainer.attributor.layers.index("input")
    pictures = []
    for chunk in classes.split(_AT_ONCE):
        forward = explainer.attributor.forward(explainer.model, explainer.images(image, len(chunk)))
        weights = explainer.attributor.gradients(forward, chunk)[at]
        encoded = forward.activations["input"].detach()
        if encoded.shape[1] != 6:
            return None
        pictures.append(rgba_explanation(encoded, weights).cpu())
    return torch.cat(pictures)
