"""B-cos attention against the package ``bcos`` and a reference that needs no custom backward."""

from functools import partial

import torch
from bcos.models.vit import Attention
from bcos.modules import BcosLinear as PackageLinear
from bcos.modules.norms import DetachableLayerNorm, NoBias
from torch import Tensor

from guidance.models.bcos_attention import BcosAttention
from guidance.models.dynamic_factors import explanation_backward


def attention() -> tuple[BcosAttention, Tensor]:
    torch.manual_seed(0)
    layer = BcosAttention(dim=8, heads=2, dim_head=3).double()
    with torch.no_grad():
        layer.norm.weight.uniform_(0.5, 1.5)
        layer.to_qkv.weight.normal_()  # far from equal attention
    return layer, torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)


def test_equals_the_package_and_its_explanation() -> None:
    ours, tokens = attention()
    theirs = Attention(
        8, 2, 3, linear_layer=PackageLinear, norm_layer=partial(NoBias(DetachableLayerNorm), eps=1e-5)
    ).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(tokens), theirs(tokens))
    for module in theirs.modules():
        if hasattr(module, "set_explanation_mode"):
            module.set_explanation_mode(True)
    (expected,) = torch.autograd.grad(theirs(tokens).sin().sum(), tokens)
    with explanation_backward():
        (actual,) = torch.autograd.grad(ours(tokens).sin().sum(), tokens)
    torch.testing.assert_close(actual, expected)


def test_a_loss_of_the_explanation_trains_queries_and_keys() -> None:
    """Two passes: the first gives all dynamic factors, the second is linear in a fresh leaf."""
    ours, tokens = attention()
    parameters = list(ours.parameters())
    v = torch.randn(2, 5, 8, dtype=torch.float64)
    with explanation_backward():
        (w,) = torch.autograd.grad((ours(tokens) * v).sum(), tokens, create_graph=True)
    gradients = torch.autograd.grad(w.sin().sum(), parameters)

    centred = tokens - tokens.mean(-1, keepdim=True)
    inverse_std = (centred.square().mean(-1, keepdim=True) + 1e-5) ** -0.5
    to_q, to_k, to_v = ours.to_qkv.weight.chunk(3)
    normalised = centred * inverse_std * ours.norm.weight
    attended: list[Tensor] = []
    for head in (slice(0, 3), slice(3, 6)):
        q, k = normalised @ to_q[head].T, normalised @ to_k[head].T
        attended.append((torch.einsum("ntd,nsd->nts", q, k) / 3**0.5).softmax(-1))
    to_out = ours.to_out.linear.weight / ours.to_out.linear.weight.norm(dim=1, keepdim=True)

    def linear(leaf: Tensor, cosine: Tensor | None) -> tuple[Tensor, Tensor]:
        values = ((leaf - leaf.mean(-1, keepdim=True)) * inverse_std * ours.norm.weight) @ to_v.T
        mixed = torch.cat([attended[0] @ values[..., :3], attended[1] @ values[..., 3:]], -1)
        out = mixed @ to_out.T
        own = out.abs() / mixed.norm(dim=-1, keepdim=True)
        return out * (own if cosine is None else cosine), own

    _, cosine = linear(tokens, None)
    leaf = tokens.detach().clone().requires_grad_()
    (expected_w,) = torch.autograd.grad((linear(leaf, cosine)[0] * v).sum(), leaf, create_graph=True)
    torch.testing.assert_close(w, expected_w)
    expected = torch.autograd.grad(expected_w.sin().sum(), parameters)
    torch.testing.assert_close(gradients, expected)
    of_qkv = dict(zip(dict(ours.named_parameters()), gradients, strict=True))["to_qkv.weight"]
    assert (of_qkv.unflatten(0, (3, 6)).abs().amax((1, 2)) > 1e-3).all()


def test_gradcheck() -> None:
    layer, tokens = attention()
    tokens = tokens[:1, :2].detach().requires_grad_()
    assert torch.autograd.gradcheck(layer, (tokens,))
    assert torch.autograd.gradgradcheck(layer, (tokens,))


def test_explanation_under_autocast_is_near_the_exact_one() -> None:
    layer, tokens = attention()
    layer, tokens = layer.float(), tokens.detach().float().requires_grad_()
    with explanation_backward():
        (exact,) = torch.autograd.grad(layer(tokens).sum(), tokens)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(tokens)
    with explanation_backward():
        (w,) = torch.autograd.grad(out.sum(), tokens, create_graph=True)
    w.square().sum().backward()
    assert torch.cosine_similarity(w.flatten(), exact.flatten(), dim=0) > 0.99
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_a_single_token_attends_to_itself() -> None:
    layer, tokens = attention()
    alone = tokens[:, :1]
    values = layer.norm(alone) @ layer.to_qkv.weight.chunk(3)[2].T
    torch.testing.assert_close(layer(alone), layer.to_out(values))
