"""DiFull and DiPart as networks, against the classifier run on the cells one by one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from guidance.attribution import (
    LRP,
    RISE,
    AblationCAM,
    Attributor,
    BcosContributions,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    ScoreCAM,
    Smoothed,
    run_model,
)
from guidance.errors import InputError
from guidance.models import Classifier, Normalize, bcos_vit
from guidance.protocols.cells import to_cells, to_grids
from guidance.protocols.heads_per_cell import HeadsPerCell
from tests.attribution.small_networks import NUM_CLASSES, small_bcos, small_images, small_resnet

SIDE = 32
NETWORKS: dict[str, tuple[Callable[[], Classifier], list[str]]] = {
    "resnet": (small_resnet, ["input", "mid1", "final", "network.2.norm"]),
    "bcos": (small_bcos, ["input", "mid2", "final"]),
}


def small_vit() -> Classifier:
    torch.manual_seed(0)
    network = VisionTransformer(SIDE, 8, 2, 2, 16, 32)
    nn.init.normal_(network.heads.head.weight)
    layers = {"mid2": "encoder.layers.encoder_layer_0", "final": "encoder.layers.encoder_layer_1.ln_1"}
    model = Classifier(network, Normalize(), NUM_CLASSES, layers, head="heads.head", prefix_tokens=1)
    nn.init.normal_(model.network.heads.head.weight)  # type: ignore[union-attr, arg-type]
    return model.double().eval()


NETWORKS["vit"] = (small_vit, ["input", "mid2", "final"])


def grids_of(n: int, count: int = 2) -> Tensor:
    return small_images(count, n * SIDE, n * SIDE)


def bounds(cell: int, n: int, side: int) -> tuple[slice, slice]:
    return tuple(slice(at * side, (at + 1) * side) for at in divmod(cell, n))  # type: ignore[return-value]


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_disconnected_heads_see_their_own_cell_alone(name: str, n: int) -> None:
    build, layers = NETWORKS[name]
    classifier, grids = build(), grids_of(n)
    model = HeadsPerCell(classifier, n, "input", layers)
    cells = n * n
    logits = model(grids).reshape(2, cells, NUM_CLASSES)
    for cell in range(cells):
        rows, columns = bounds(cell, n, SIDE)
        torch.testing.assert_close(logits[:, cell], classifier(grids[:, :, rows, columns]))

    grids.requires_grad_()
    cell, k = cells - 1, 1
    forward = run_model(model, grids, layers)
    target = forward.logits[:, cell * NUM_CLASSES + k].sum()
    gradients = torch.autograd.grad(target, [grids, *forward.activations.values()])
    for gradient in gradients:
        rows, columns = bounds(cell, n, gradient.shape[-1] // n)
        inside = gradient[:, :, rows, columns].clone()
        gradient[:, :, rows, columns] = 0
        assert inside.any()
        assert not gradient.any(), "the gradient outside the cell must be exactly 0"


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_hold_whole_grids(name: str) -> None:
    build, layers = NETWORKS[name]
    classifier, grids = build(), grids_of(2)
    alone = run_model(classifier, to_cells(grids, 2), layers)
    whole = run_model(HeadsPerCell(classifier, 2, "input", layers), grids, layers)
    for layer in layers:
        torch.testing.assert_close(whole.activations[layer], to_grids(alone.activations[layer], 2))


def slow_dipart_logits(classifier: Classifier, grids: Tensor, n: int) -> Tensor:
    """Run a network of :func:`small_resnet` or :func:`small_bcos` on a grid, and its end on each cell."""
    network: Any = classifier.network
    kept = []
    module = classifier.get_submodule(classifier.layers["final"])
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output))
    classifier(grids)
    handle.remove()
    logits = []
    for cell in range(n * n):
        rows, columns = bounds(cell, n, kept[0].shape[-1] // n)
        features = kept[0][:, :, rows, columns]
        if isinstance(network, nn.Sequential):
            logits.append(network[4:](features))
        else:  # the classifier of a B-cos network comes before the pooling
            logits.append(network.logit_layer(network.fc(features).mean(dim=(2, 3))))
    return torch.stack(logits, dim=1)


@pytest.mark.parametrize("name", ["resnet", "bcos"])
def test_dipart_cuts_the_features_of_the_whole_grid(name: str) -> None:
    build, layers = NETWORKS[name]
    classifier, grids = build(), grids_of(2).requires_grad_()
    model = HeadsPerCell(classifier, 2, "final", layers)
    forward = run_model(model, grids, layers)
    expected = slow_dipart_logits(classifier, grids, 2)
    torch.testing.assert_close(forward.logits.reshape(2, 4, NUM_CLASSES), expected)
    ours = torch.autograd.grad(forward.logits[0, 3 * NUM_CLASSES + 2], [grids, *forward.activations.values()])
    theirs = torch.autograd.grad(expected[0, 3, 2], grids)[0]
    torch.testing.assert_close(ours[0], theirs)
    assert ours[0][0, :, :SIDE, :SIDE].any(), "features of a cell reach into its neighbours"
    of_final = ours[1 + layers.index("final")][0]
    rows, columns = bounds(3, 2, of_final.shape[-1] // 2)
    assert of_final[:, rows, columns].any()
    of_final[:, rows, columns] = 0
    assert not of_final.any()


def test_dipart_of_tokens() -> None:
    torch.manual_seed(0)
    classifier = bcos_vit("ti", NUM_CLASSES).double().eval()
    grids = grids_of(2, count=1)
    model = HeadsPerCell(classifier, 2, "final", ["final"])
    logits = model(grids).reshape(4, NUM_CLASSES)
    tokens = run_model(classifier, grids, ["final"]).activations["final"]
    transformer: Any = classifier.network[0]  # type: ignore[index]
    for cell in range(4):
        rows, columns = bounds(cell, 2, tokens.shape[-1] // 2)
        own = tokens[:, :, rows, columns].flatten(2).transpose(1, 2).mean(dim=1)
        expected = classifier.network[1](transformer.linear_head(own))  # type: ignore[index]
        torch.testing.assert_close(logits[cell], expected[0])


def test_a_class_token_cannot_be_cut() -> None:
    with pytest.raises(InputError, match="classifies by a token that has seen the whole grid"):
        HeadsPerCell(small_vit(), 2, "final")


def test_unknown_layers_and_layers_that_do_not_run() -> None:
    with pytest.raises(InputError, match="unknown layer 'mid9'"):
        HeadsPerCell(small_resnet(), 2, "input", ["mid9"])
    classifier = small_resnet()
    classifier.network.register_module("spare", nn.Identity())
    model = HeadsPerCell(classifier, 2, "network.spare")
    classifier.network.forward = lambda x: x.mean(dim=(2, 3))
    with pytest.raises(InputError, match=r"the layer 'network.spare', where the cells are .* did not run"):
        model(grids_of(2))


GRADIENTS: list[Attributor] = [
    Gradient(["input", "final"]),
    InputXGradient(["input", "final"]),
    IntegratedGradients(["input", "final"], steps=3),
    GuidedBackprop(["input", "final"]),
    LRP(["input", "final"]),
    LayerCAM(["input", "final"]),
]


@pytest.mark.parametrize("attributor", GRADIENTS, ids=lambda a: type(a).__name__)
def test_maps_of_backprop_methods_are_those_of_the_cell_alone(attributor: Attributor) -> None:
    classifier, grids = small_resnet(), grids_of(2)
    model = HeadsPerCell(classifier, 2, "input", attributor.layers)
    attributor.check(model)
    cell, k = 2, torch.tensor([0, 1])
    maps = attributor.attribute_layers(attributor.forward(model, grids), cell * NUM_CLASSES + k)
    images = to_cells(grids, 2).unflatten(0, (2, 4))[:, cell]
    alone = attributor.attribute_layers(attributor.forward(classifier, images), k)
    for layer in attributor.layers:
        expected = torch.zeros_like(maps[layer])
        rows, columns = bounds(cell, 2, maps[layer].shape[-1] // 2)
        expected[:, rows, columns] = alone[layer]
        torch.testing.assert_close(maps[layer], expected)
        assert maps[layer].any()


def test_contributions_of_bcos_networks_are_those_of_the_cell_alone() -> None:
    classifier, grids, attributor = small_bcos(), grids_of(2), BcosContributions()
    model = HeadsPerCell(classifier, 2, "input")
    attributor.check(model)
    maps = attributor.attribute(attributor.forward(model, grids), torch.tensor([3 * NUM_CLASSES, 1]))
    alone = attributor.attribute(
        attributor.forward(classifier, torch.stack([grids[0, :, SIDE:, SIDE:], grids[1, :, :SIDE, :SIDE]])),
        torch.tensor([0, 1]),
    )
    expected = torch.zeros_like(maps)
    expected[0, SIDE:, SIDE:], expected[1, :SIDE, :SIDE] = alone
    torch.testing.assert_close(maps, expected)


def test_grad_cam_pools_over_the_grid_and_leaks() -> None:
    classifier, grids = small_resnet(), grids_of(2)
    attributor = GradCAM("final")
    model = HeadsPerCell(classifier, 2, "input", ["final"])
    maps = attributor.attribute(attributor.forward(model, grids), torch.tensor([3 * NUM_CLASSES + 1] * 2))
    forward = run_model(classifier, to_cells(grids, 2), ["final"])
    activation = forward.activations["final"]
    (gradient,) = torch.autograd.grad(forward.logits.reshape(2, 4, -1)[:, 3, 1].sum(), activation)
    whole = to_grids(activation, 2).detach()
    weights = to_grids(gradient, 2).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(maps, (weights * whole).sum(dim=1).relu())
    half = maps.shape[-1] // 2
    assert maps[:, :half].any(), "evidence where the head cannot see"


def test_score_cam_asks_the_head_of_the_cell() -> None:
    classifier, grids = small_resnet(), grids_of(2, count=1)
    model = HeadsPerCell(classifier, 2, "input", ["final"])
    attributor = ScoreCAM("final")
    activation = run_model(model, grids, ["final"]).activations["final"].detach()[0]
    network_input = classifier.encoding(grids)
    spread = activation.amax((1, 2)) > activation.amin((1, 2))
    assert spread.sum() > 2
    maps = []
    for cell in range(4):
        scores = torch.full((len(activation),), -torch.inf, dtype=torch.float64)
        rows, columns = bounds(cell, 2, SIDE)
        for number in spread.nonzero().flatten().tolist():
            channel = activation[number]
            mask = F.interpolate(channel[None, None], (2 * SIDE, 2 * SIDE), mode="bilinear")[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            with torch.no_grad():
                scores[number] = classifier.network((network_input * mask)[:, :, rows, columns])[0, 1]
        expected = torch.einsum("c,chw->hw", scores.softmax(dim=0), activation).relu()
        found = attributor.attribute(attributor.forward(model, grids), torch.tensor([cell * NUM_CLASSES + 1]))
        torch.testing.assert_close(found[0], expected)
        maps.append(found)
    assert not any(torch.allclose(maps[0], other) for other in maps[1:]), "each head has a map of its own"


@pytest.mark.parametrize("split", ["input", "final"])
@pytest.mark.parametrize(
    "attributor",
    [
        AblationCAM(["mid1", "final"]),
        ScoreCAM(["mid1", "final"]),
        Occlusion(["input", "final"], window=8, stride=8),
        RISE(["input", "final"], masks=3),
        GradCAMPlusPlus(["input", "mid1", "final"]),
        Smoothed(InputXGradient(["input", "mid1", "final"]), 3),
        LRP(["input", "mid1", "final"], rule="gamma"),
    ],
    ids=lambda a: a if isinstance(a, str) else type(a).__name__,
)
def test_every_attribution_explains_whole_grids(attributor: Attributor, split: str) -> None:
    grids = grids_of(2, count=1)
    model = HeadsPerCell(small_resnet(), 2, split, attributor.layers)
    attributor.check(model)
    forward = attributor.forward(model, grids)
    maps = attributor.attribute_layers(forward, torch.tensor([3 * NUM_CLASSES]))
    for layer, found in maps.items():
        assert found.shape[1:] == forward.activations[layer].shape[2:]
        assert found.isfinite().all()
    torch.testing.assert_close(model(grids), forward.logits)  # no hook is left behind


def test_no_hook_stays_on_the_classifier() -> None:
    classifier, images = small_resnet(), small_images(1)
    before = classifier(images)
    model = HeadsPerCell(classifier, 2, "final", ["mid1", "final"])
    with pytest.raises(InputError, match="cannot be cut"):
        model(small_images(1, 20, 20))
    torch.testing.assert_close(classifier(images), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.modules())
