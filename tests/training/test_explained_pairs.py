"""The pairs that are looked at: drawn by a seed, each with a box; explained as the attributor alone would."""

from functools import partial

import torch

from guidance.attribution import BcosContributions
from guidance.data import GuidanceDataModule, Shapes
from guidance.models import bcos_small
from guidance.training.explained_pairs import choose_pairs, explain_pairs
from guidance.training.module import GuidedClassifier

DATA = GuidanceDataModule(
    partial(Shapes, image_size=32, length={"train": 4, "val": 4, "test": 12}), image_size=32, batch_size=4
)
TEST = DATA.prepared("test")


def test_every_pair_has_a_box_and_the_seed_draws() -> None:
    pairs = [choose_pairs(TEST, 5, seed) for seed in (0, 0, 1)]
    drawn = []
    for found in pairs:
        assert found is not None
        batch, classes = found
        assert len(batch) == len(classes) == 5
        assert batch.has_boxes()[torch.arange(5), classes].all()
        drawn.append(batch.indices.tolist())
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_there_may_be_fewer_images_than_asked_for() -> None:
    found = choose_pairs(TEST, 1000, 0)
    assert found is not None
    boxed = sum(len(TEST[index].boxes) > 0 for index in range(len(TEST)))
    assert len(found[0]) == boxed


def test_maps_are_the_attributor_s_and_the_mode_is_kept() -> None:
    torch.manual_seed(0)
    module = GuidedClassifier(
        bcos_small(DATA.num_classes, width=8), BcosContributions(), DATA.classes
    ).double()
    found = choose_pairs(TEST, 3, 0)
    assert found is not None
    batch, classes = found
    module.train()
    maps, probabilities = explain_pairs(module, batch, classes)
    assert module.training
    module.eval()
    for i, k in enumerate(classes.tolist()):
        image = batch.images[i : i + 1].double() / 255
        forward = module.attributor.forward(module.model, image)
        expected = module.attributor.attribute(forward, torch.tensor([k]))[0]
        torch.testing.assert_close(maps[i], expected.detach())
        torch.testing.assert_close(probabilities[i], forward.logits[0, k].sigmoid().detach())
