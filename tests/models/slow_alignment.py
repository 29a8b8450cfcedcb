"""Dynamic alignment units the slow way: the weights of every patch are formed, and kept if so wished."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from guidance.models.coda_layers import DynamicAlignmentConv2d
from guidance.models.coda_net import CodaNet


def patches_of(layer: DynamicAlignmentConv2d, x: Tensor) -> Tensor:
    """Return the patches [N, P, D] that a layer sees."""
    conv = layer.projection
    (kernel, _), (stride, _) = conv.kernel_size, conv.stride
    padding = int(conv.padding[0])
    return F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)


def dynamic_weights(layer: DynamicAlignmentConv2d, patches: Tensor) -> Tensor:
    """Return ``g(A B x + b)`` of every unit, [N, P, C', D], from patches [N, P, D]."""
    units, rank = len(layer.offset), layer.projection.out_channels
    h = patches @ layer.projection.weight.flatten(1).T
    a = layer.expansion.reshape(units, rank, -1)
    w = torch.einsum("npr,ord->npod", h, a) + layer.offset.flatten(1)
    norm = w.norm(dim=-1, keepdim=True)
    size = torch.ones_like(norm) if layer.nonlinearity == "l2" else norm**2 / (1 + norm**2)
    weights: Tensor = size * w / norm
    return weights


def apply_weights(weights: Tensor, patches: Tensor, height: int) -> Tensor:
    """Return [N, C', H', W']."""
    out: Tensor = torch.einsum("npod,npd->nop", weights, patches).unflatten(2, (height, -1))
    return out


class TwoPass:
    """A slow reference for explanations and guided gradients that needs no custom backward.

    A first pass records the dynamic weights of all layers, as functions of the parameters. A second pass
    applies them as given tensors to a fresh leaf at the layer to be explained: it is linear in the leaf, so
    its ordinary gradient is W(x), which depends on the parameters through the recorded weights.
    """

    def __init__(self, network: CodaNet, temperature: float) -> None:
        self.temperature = temperature
        self.layers = [layer for layer in network.layers if isinstance(layer, DynamicAlignmentConv2d)]

    def run(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the logits, the weights of each layer and what goes into each."""
        weights, inputs = [], []
        for layer in self.layers:
            patches = patches_of(layer, x)
            weights.append(dynamic_weights(layer, patches))
            inputs.append(x)
            stride = layer.projection.stride[0]
            x = apply_weights(weights[-1], patches, -(-x.shape[2] // stride))
        return self.head(x), weights, inputs

    def head(self, evidence: Tensor) -> Tensor:
        logits: Tensor = evidence.sum((2, 3)) / self.temperature - log(evidence.shape[1] - 1)
        return logits

    def maps(self, x: Tensor, classes: Tensor, before: int = 0) -> tuple[Tensor, Tensor]:
        """Return the logits, and the contributions [N, h, w] of what goes into the layer ``before``."""
        logits, weights, inputs = self.run(x)
        activation = inputs[before]
        leaf = activation.detach().requires_grad_()
        out = leaf
        for layer, given in zip(self.layers[before:], weights[before:], strict=True):
            out = apply_weights(given, patches_of(layer, out), -(-out.shape[2] // layer.projection.stride[0]))
        evidence = (out.sum((2, 3)) / self.temperature).gather(1, classes[:, None]).sum()
        (w,) = torch.autograd.grad(evidence, leaf, create_graph=True)
        return logits, (activation * w).sum(1)
