"""B-cos ViTs equal those of ``bcos``, can be guided, and tell the share of their positional embedding."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from guidance.attribution.bcos import BcosContributions
from guidance.errors import InputError
from guidance.models.bcos_resnet import bcos_small
from guidance.models.bcos_vit import bcos_vit, positional_share
from guidance.models.classifier import Classifier
from tests.models.bcos_family import (
    CLASSES,
    K,
    Member,
    check_explanation,
    check_guided_gradients,
    check_released_weights,
    check_state_dict,
)

MEMBERS = {
    (size, conv_stem): Member(
        partial(bcos_vit, size, K, conv_stem=conv_stem),
        f"vitc_{size}_patch1_14" if conv_stem else f"simple_vit_{size}_patch16_224",
        48,
    )
    for size in ("ti", "s", "b", "l")
    for conv_stem in (False, True)
}
SLOW = [pytest.param(size, marks=pytest.mark.slow) for size in ("b", "l")]


@pytest.mark.parametrize("member", MEMBERS.values(), ids=str)
def test_state_dict_is_the_package_s(member: Member) -> None:
    check_state_dict(member)


@pytest.mark.parametrize("conv_stem", [False, True])
@pytest.mark.parametrize("size", ["ti", "s", *SLOW])
def test_explanation_is_the_package_s_and_complete_with_the_positional_share(
    size: str, conv_stem: bool
) -> None:
    check_explanation(MEMBERS[size, conv_stem], share=positional_share)


@pytest.mark.parametrize("conv_stem", [False, True])
@pytest.mark.parametrize("size", ["ti", pytest.param("s", marks=pytest.mark.slow)])
def test_guided_gradients_are_the_package_s(size: str, conv_stem: bool) -> None:
    check_guided_gradients(MEMBERS[size, conv_stem])


@pytest.mark.parametrize("conv_stem", [False, True])
def test_released_weights(conv_stem: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(num_classes: int, pretrained: bool) -> Classifier:
        return bcos_vit("ti", num_classes, conv_stem, pretrained)

    name = f"bcos_{MEMBERS['ti', conv_stem].reference}"
    check_released_weights(
        build, "vit_final", name, "0.linear_head.linear.linear.weight", tmp_path, monkeypatch
    )


@pytest.mark.parametrize(
    ("size", "conv_stem", "blocks"),
    [("ti", False, (3, 6, 9, 12)), ("s", True, (3, 6, 8, 11)), ("l", True, (3, 7, 10, 13))],
)
def test_named_layers_are_maps_of_tokens(size: str, conv_stem: bool, blocks: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = bcos_vit(size, num_classes=3, conv_stem=conv_stem).eval()
        forward = BcosContributions(list(model.layers)).forward(model, torch.rand(1, 3, 64, 96))
    sizes = {tuple(forward.activations[layer].shape[2:]) for layer in ("mid1", "mid2", "mid3", "final")}
    assert sizes == {(4, 6)}
    paths = [f"network.0.transformer.encoder_{block - 1}" for block in blocks]
    assert [model.layers[layer] for layer in ("mid1", "mid2", "mid3", "final")] == paths


@pytest.mark.parametrize("conv_stem", [False, True])
def test_positional_share_is_the_package_s_gradient_times_embedding(conv_stem: bool) -> None:
    member = MEMBERS["ti", conv_stem]
    ours, theirs = member.filled_pair()
    images = member.images(seed=2)
    leaves: list[Tensor] = []

    def one_leaf_per_image(_: nn.Module, __: object, embedding: Tensor) -> Tensor:
        leaves.append(torch.stack([embedding, embedding]).requires_grad_())
        return leaves[0]

    theirs.get_submodule("0.positional_embedding").register_forward_hook(one_leaf_per_image)
    with theirs.explanation_mode():
        logits = theirs(torch.cat([images, 1 - images], 1))
        (gradient,) = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), leaves)
    expected = (leaves[0] * gradient).sum((1, 2)).detach()
    share = positional_share(ours, images, CLASSES)
    torch.testing.assert_close(share, expected, rtol=1e-8, atol=1e-12)
    assert (share != 0).all()
    assert not share.requires_grad
    # One image at a time gives the same, and the model is left as it was.
    alone = torch.cat([positional_share(ours, images[i : i + 1], CLASSES[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(alone, share)
    assert not any(module._forward_hooks for module in ours.modules())


def test_positional_share_works_under_no_grad_in_single_precision() -> None:
    member = MEMBERS["ti", False]
    model, images = member.filled_pair()[0], member.images(seed=2)
    share = positional_share(model, images, CLASSES)
    model, images = model.float(), images.float()
    with torch.no_grad():
        torch.testing.assert_close(
            positional_share(model, images, CLASSES), share.float(), rtol=1e-3, atol=1e-5
        )
    assert all(parameter.grad is None for parameter in model.parameters())


def test_positional_share_of_a_network_without_embedding_is_refused() -> None:
    with pytest.raises(InputError, match="defined for B-cos ViTs only"):
        positional_share(bcos_small(4, width=8), torch.rand(1, 3, 32, 32), torch.tensor([0]))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown model.size 'tiny'. Did you mean 'ti'"):
        bcos_vit("tiny", 20)
    with pytest.raises(InputError, match="sides are multiples of 16; got 40 x 32"):
        bcos_vit("ti", 20)(torch.rand(1, 3, 40, 32))
    assert bcos_vit("ti", 20, conv_stem=True)(torch.rand(1, 3, 40, 33)).shape == (1, 20)
