"""B-cos vision transformers: the architectures of ``bcos`` with layers that can be differentiated twice."""

import warnings

import bcos.models.vit as architectures
import torch
from bcos.modules import LogitLayer
from torch import Tensor, nn

from guidance.errors import InputError, unknown_name
from guidance.models.bcos_attention import BcosAttention
from guidance.models.bcos_classifier import bcos_classifier, load_released, logit_bias
from guidance.models.bcos_layers import BcosConv2d
from guidance.models.bcos_linear import BcosLinear
from guidance.models.bcos_norm import BiasFreeImageNorm2d, BiasFreeLayerNorm
from guidance.models.classifier import Classifier
from guidance.models.dynamic_factors import explanation_backward

_SIZES = ("ti", "s", "b", "l")
_PATCH = 16


def bcos_vit(size: str, num_classes: int, conv_stem: bool = False, pretrained: bool = False) -> Classifier:
    """Build a B-cos vision transformer of version 2 (arXiv 2301.08669, 2306.10898).

    A simple ViT (arXiv 2205.01580): no class token, a fixed sine and cosine positional embedding, the mean
    of the tokens before the classifier, and one token for every 16 x 16 pixels. The input has 6 channels and
    the logit bias is ``-ln(K - 1)``. The positional embedding is a second input: the contributions of the
    image sum up to the logit minus its bias minus the :func:`positional_share`.

    Args:
        size: ``ti``, ``s``, ``b`` or ``l``.
        num_classes: K.
        conv_stem: Make the tokens by strided B-cos convolutions, for images of any size (ViT-C, arXiv
            2106.14881), instead of from patches, for images whose sides are multiples of 16.
        pretrained: Start from the released ImageNet weights (downloaded once, verified by their hash).
            The classifier is taken over only if K is 1000.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3`` (after about 1/4, 1/2 and 3/4 of the
        blocks), ``final`` (after the last block). Maps of all but ``input`` have a cell per token.

    Raises:
        InputError: If there is no such size, or the weights cannot be had.
    """
    if size not in _SIZES:
        raise unknown_name("model.size", size, _SIZES)
    name = f"vitc_{size}_patch1_14" if conv_stem else f"simple_vit_{size}_patch16_224"
    with warnings.catch_warnings():
        # The architecture lacks a logit bias, and warns; here it gets one.
        warnings.filterwarnings("ignore", "You are trying to use the entrypoints")
        transformer = getattr(architectures, name)(
            num_classes=num_classes,
            linear_layer=BcosLinear,
            conv2d_layer=BcosConv2d,
            norm_layer=BiasFreeLayerNorm,
            norm2d_layer=BiasFreeImageNorm2d,
            act_layer=nn.Identity,
        )
    encoders = list(transformer.transformer)
    for encoder in encoders:
        old = encoder.attn
        dim, inner = old.to_qkv.in_features, old.to_qkv.out_features // 3
        encoder.attn = BcosAttention(dim, old.heads, inner // old.heads)
    network = _Network(transformer, logit_bias(num_classes), 1 if conv_stem else _PATCH)
    if pretrained:
        load_released(network, "vit_final", f"bcos_{name}")
    depth = len(encoders)
    blocks = {f"mid{quarter}": (depth * quarter + 2) // 4 for quarter in (1, 2, 3)} | {"final": depth}
    layers = {layer: f"0.transformer.encoder_{block - 1}" for layer, block in blocks.items()}
    return bcos_classifier(network, num_classes, layers)


class _Network(nn.Sequential):
    """A transformer with a logit bias, under the names of the released weights."""

    def __init__(self, transformer: nn.Module, bias: float, patch: int) -> None:
        super().__init__(transformer, LogitLayer(logit_bias=bias))
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % self.patch or width % self.patch:
            raise InputError(
                f"a ViT of {self.patch} x {self.patch} patches reads images whose sides are multiples of "
                f"{self.patch}; got {height} x {width}: choose such a data.image_size, or model=bcos_vitc_..."
            )
        for module in self:
            x = module(x)
        return x


def has_positional_share(model: nn.Module) -> bool:
    """Return whether :func:`positional_share` is defined for a model."""
    return any(isinstance(module, architectures.PosEmbSinCos2d) for module in model.modules())


def positional_share(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return what the positional embedding contributes to one logit per image.

    The embeddings p_t are added to the tokens and pass through the same dynamic linear map W(x). Their share
    of logit k is ``sum_t p_t . W(x)_kt``. The rest is of the image: the sum of its B-cos map at ``input``
    and the share are the logit minus its bias. Maps at ``mid1`` to ``final`` include the share.

    Args:
        model: Of :func:`bcos_vit`.
        images: RGB in [0, 1], float [N, 3, H, W].
        classes: The logit of each image, int64 [N].

    Returns:
        Shares, constants of at least float32, [N].

    Raises:
        InputError: If the model has no such embedding.
    """
    embeddings = [m for m in model.modules() if isinstance(m, architectures.PosEmbSinCos2d)]
    if not embeddings:
        raise InputError(
            "a positional share is defined for B-cos ViTs only (model=bcos_vit_s, bcos_vitc_s, ...)"
        )
    kept: list[Tensor] = []

    def embed_each_image(_: nn.Module, __: object, embedding: Tensor) -> Tensor:
        kept.append(embedding.repeat(len(images), 1, 1).requires_grad_())
        return kept[0]

    handle = embeddings[0].register_forward_hook(embed_each_image)
    try:
        with torch.enable_grad():
            target = model(images).gather(1, classes[:, None]).sum()
    finally:
        handle.remove()
    with explanation_backward():
        (gradient,) = torch.autograd.grad(target, kept)
    share = (kept[0].detach() * gradient).sum((1, 2))
    return share if share.dtype == torch.float64 else share.float()
