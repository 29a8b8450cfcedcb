"""Cascades of randomised layers: stages, what is changed and what is not."""

import copy

import pytest
import torch
from torch import nn

from guidance.models import Classifier, bcos_small
from guidance.models.randomized import cascade_stages, randomise

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Attending(nn.Module):
    """Ends in torch's attention, whose output projection is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 8, 8)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.token
        attended: torch.Tensor = self.attention(tokens, tokens, tokens)[0]
        logits: torch.Tensor = self.head(attended.mean(1))
        return logits


def plain() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    return Classifier(network, nn.Identity(), 3, {"mid1": "2", "final": "5:input"}).eval()


def test_stages_go_from_the_logits_down() -> None:
    blocks = cascade_stages(plain(), IMAGES, "blocks")
    assert [(stage.name, stage.modules) for stage in blocks] == [
        ("head", ("network.7",)),
        ("final", ("network.3",)),
        ("mid1", ("network.0", "network.1")),
    ]
    layers = cascade_stages(plain(), IMAGES, "layers")
    assert [stage.modules for stage in layers] == [(f"network.{number}",) for number in (7, 3, 1, 0)]
    assert [stage.name for stage in layers] == ["7", "3", "1", "0"]


@pytest.mark.parametrize("cascade", ["blocks", "layers"])
def test_every_parameter_is_randomised_in_the_end(cascade: str) -> None:
    torch.manual_seed(0)
    attending = Classifier(Attending(), nn.Identity(), 3, {"final": "embed"}).eval()
    for classifier in (plain(), bcos_small(width=4, num_classes=3).eval(), attending):
        stages = cascade_stages(classifier, IMAGES, cascade)  # type: ignore[arg-type]
        modules = [path for stage in stages for path in stage.modules]
        assert sorted(modules) == sorted(
            {name.rpartition(".")[0] for name, _ in classifier.named_parameters()}
        )
        changed = copy.deepcopy(classifier)
        for stage in stages:
            randomise(changed, stage.modules, seed=0)
        assert not torch.allclose(changed(IMAGES), classifier(IMAGES))
        for name, value in classifier.named_parameters():
            other = changed.get_parameter(name)
            if value.numel() > 4 and value.unique().numel() > 1:
                assert not torch.equal(value, other)
            assert torch.equal(value.flatten().sort().values, other.flatten().sort().values)


def test_only_the_modules_named_change_and_the_seed_decides() -> None:
    def changed(seed: int) -> Classifier:
        classifier = plain()
        randomise(classifier, ("network.3",), seed)
        return classifier

    one, other = changed(0).state_dict(), plain().state_dict()
    assert {name for name in one if not torch.equal(one[name], other[name])} == {
        "network.3.weight", "network.3.bias",
    }  # fmt: skip
    assert torch.equal(changed(0).network[3].weight, changed(0).network[3].weight)  # type: ignore[index]
    assert not torch.equal(changed(0).network[3].weight, changed(1).network[3].weight)  # type: ignore[index]


def test_statistics_of_batch_norm_are_forgotten_too() -> None:
    classifier = plain()
    norm = classifier.network[1]  # type: ignore[index]
    norm.running_mean.copy_(torch.arange(4.0))
    norm.running_var.copy_(torch.arange(1.0, 5))
    randomise(classifier, ("network.1",), seed=1)
    assert norm.running_mean.tolist() != [0, 1, 2, 3]
    assert sorted(norm.running_mean.tolist()) == [0, 1, 2, 3]
    assert int(norm.num_batches_tracked) == 0
