from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from guidance.attribution import (
    Attributor,
    BcosContributions,
    ForwardPass,
    GradCAM,
    InputXGradient,
    attribute_pairs,
)
from guidance.explain.evidence import classify, explain_classes
from guidance.explain.explainer import Explainer
from guidance.explain.subject import Subject
from guidance.models import Classifier, Normalize, bcos_small, bcos_vit

CLASSES = ("cat", "dog", "cow", "hen")


class Drawn(Attributor):
    """Gives the same map for every class."""

    def __init__(self, drawn: Tensor) -> None:
        super().__init__("input")
        self.drawn = drawn

    def explain(self, forward: ForwardPass, classes: Tensor, create_graph: bool) -> list[Tensor]:
        return [self.drawn.expand(len(classes), -1, -1)]


def bcos(attributor: Attributor | None = None) -> Explainer:
    torch.manual_seed(0)
    model = bcos_small(num_classes=4, width=8).double().eval()
    return Explainer("bcos", model, attributor or BcosContributions(), CLASSES, 32)


def subject(boxes: list[list[float]] | None = None, names: tuple[str, ...] = ("dog",)) -> Subject:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(256, (3, 24, 40), generator=generator, dtype=torch.uint8)
    return Subject(
        "a.png", lambda _: image, (24, 40), torch.tensor(boxes or []).reshape(-1, 4), names if boxes else ()
    )


def test_maps_are_the_attributors() -> None:
    for attributor in (BcosContributions(), GradCAM(["mid2", "final"], relu=False)):
        explainer, image = bcos(attributor), subject()
        found = explain_classes(explainer, image, ["cow", "cat"])
        images = image.squashed(32)[None].double() / 255
        pairs = torch.zeros(2, dtype=torch.int64), torch.tensor([2, 0])
        logits, maps = attribute_pairs(attributor, explainer.model, images, *pairs)
        assert len(found) == len(attributor.layers)
        for layer, one in zip(attributor.layers, found, strict=True):
            torch.testing.assert_close(one.maps, maps[layer], rtol=1e-9, atol=1e-12)
            assert [entry.logit for entry in one.evidence] == pytest.approx(logits[0, [2, 0]].tolist())
            assert [entry.class_name for entry in one.evidence] == ["cow", "cat"]
            assert {entry.layer for entry in one.evidence} == {layer}


def test_numbers_by_hand() -> None:
    """A map of 2 x 2 on images of 4 x 4 whose right half is the box; bilinear weights are 1, 3/4, 1/4, 0."""
    explainer = replace(bcos(Drawn(torch.tensor([[4.0, 0], [4, 0]], dtype=torch.float64))), image_size=4)
    image = subject([[20, 0, 40, 24]])
    (one,) = explain_classes(explainer, image, ["dog", "cat"])
    dog, cat = one.evidence
    # Every row is 4, 3, 1, 0: in all 32, of them 4 on the right; the map has 1/4 of the positions.
    assert (dog.positive, dog.inside, dog.share_inside) == pytest.approx((8, 1, 1 / 8))
    assert cat.positive == pytest.approx(8)
    assert (cat.inside, cat.share_inside) == (None, None)
    assert dog.contributions == 8
    assert dog.bias is None
    assert one.rgba is None


def test_a_map_without_evidence_has_the_share_0() -> None:
    explainer = bcos(Drawn(-torch.ones(2, 2, dtype=torch.float64)))
    (one,) = explain_classes(explainer, subject([[0, 0, 9, 9]]), ["dog"])
    assert (one.evidence[0].positive, one.evidence[0].share_inside) == (0, 0)
    assert one.evidence[0].contributions == -4


def test_contributions_and_bias_are_the_logit_of_a_bcos_network() -> None:
    (one,) = explain_classes(bcos(), subject(), list(CLASSES))
    for entry in one.evidence:
        assert entry.bias is not None
        assert entry.bias == pytest.approx(-torch.log(torch.tensor(3.0)).item())
        assert entry.positional is None
        assert entry.contributions + entry.bias == pytest.approx(entry.logit, abs=1e-9)
        assert entry.probability == pytest.approx(torch.tensor(entry.logit).sigmoid().item())


def test_contributions_bias_and_positional_share_are_the_logit_of_a_vit() -> None:
    torch.manual_seed(0)
    model = bcos_vit("ti", 4).double().eval()
    explainer = Explainer("vit", model, BcosContributions(["input", "final"]), CLASSES, 32)
    at_input, at_final = (one.evidence[0] for one in explain_classes(explainer, subject(), ["dog"]))
    assert at_input.bias is not None
    assert at_input.positional is not None
    assert abs(at_input.positional) > 1e-6
    total = at_input.contributions + at_input.bias + at_input.positional
    assert total == pytest.approx(at_input.logit, abs=1e-9)
    assert at_final.positional is None, "the map has it"


def test_weights_are_those_of_the_dynamic_linear_map() -> None:
    explainer, image = bcos(), subject()
    (one,) = explain_classes(explainer, image, ["dog", "hen"])
    assert one.rgba is not None
    assert one.rgba.shape == (2, 4, 32, 32)
    forward = explainer.attributor.forward(explainer.model, explainer.images(image.squashed(32), 2))
    assert isinstance(explainer.attributor, BcosContributions)
    (weights,) = explainer.attributor.gradients(forward, torch.tensor([1, 3]))
    encoded = forward.activations["input"].detach()
    torch.testing.assert_close((weights * encoded).sum(1), one.maps)
    assert all(row.rgba is None for row in explain_classes(bcos(BcosContributions("mid2")), image, ["dog"]))
    assert all(row.rgba is None for row in explain_classes(bcos(InputXGradient()), image, ["dog"]))


def test_many_classes_are_explained_in_parts() -> None:
    torch.manual_seed(0)
    names = tuple(f"c{i}" for i in range(20))
    network = nn.Sequential(nn.Conv2d(3, 20, 3), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    model = Classifier(network, Normalize(), 20, {"final": "0"}).double().eval()
    explainer = Explainer("a", model, GradCAM(), names, 16)
    (whole,) = explain_classes(explainer, subject(), names)
    (last,) = explain_classes(explainer, subject(), names[-1:])
    assert whole.maps.shape == (20, 14, 14)
    torch.testing.assert_close(whole.maps[-1:], last.maps)


def test_probabilities_of_classes_that_exclude_each_other_sum_to_1() -> None:
    both = classify(bcos(), subject())
    exclusive = classify(replace(bcos(), exclusive=True), subject())
    assert list(both) == list(CLASSES)
    assert sum(exclusive.values()) == pytest.approx(1)
    assert sum(both.values()) != pytest.approx(1, abs=1e-3) or both != exclusive
