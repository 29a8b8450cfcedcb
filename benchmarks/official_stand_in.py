"""A stand-in for the official code of Rao et al. (ICCV 2023): what it computes, in its order, written anew.

B-cos ResNets in the memory format [N, C, H, W], differentiated by torch's own double backward. A guided step
explains all images in one pass and then scores them one after the other. The evaluation makes one backward
pass *of the whole batch* for every (image, class) pair, each with the graph of a double backward. Where the
order is not known the stand-in does less, not more: one forward pass serves logits and explanation.
"""

from typing import Any

import bcos.models.resnet as architectures
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Scale(torch.autograd.Function):
    """A product whose factor is a constant in the explanation's backward pass."""

    explaining = False

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        x, factor = ctx.saved_tensors
        of_factor = None if _Scale.explaining else (gradients[0] * x).sum_to_size(factor.shape)
        return gradients[0] * factor, of_factor


class _UnitNormConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.norm(p=2, dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, None, self.stride, self.padding)


class _Conv(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, stride: int = 1, padding: int = 0, **_: Any
    ):
        super().__init__()
        self.linear = _UnitNormConv(inputs, outputs, kernel_size, stride, padding, bias=False)
        self.geometry = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        squares = F.avg_pool2d((x**2).sum(1, keepdim=True), *self.geometry) * self.geometry[0] ** 2
        norm = (squares + 1e-6).sqrt()
        scaled: Tensor = _Scale.apply(out, out.abs() / norm)
        return scaled


class _Norm(nn.BatchNorm2d):
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        variance = self.running_var
        if self.training:
            variance = x.var(dim=(0, 2, 3), unbiased=False)
            with torch.no_grad():
                self.running_var.copy_(0.9 * self.running_var + 0.1 * variance)
        factor = (self.weight / (variance + self.eps).sqrt())[None, :, None, None]
        scaled: Tensor = _Scale.apply(x, factor.expand_as(x))
        return scaled


def official_resnet(depth: int, num_classes: int, state: dict[str, Tensor]) -> nn.Module:
    """Build a B-cos ResNet that reads [N, 6, H, W], with the state dict of ours."""
    build = getattr(architectures, f"resnet{depth}")
    network: nn.Module = build(num_classes=num_classes, conv_layer=_Conv, norm_layer=_Norm)
    network.load_state_dict({name: value.contiguous() for name, value in state.items()})
    return network


def _forward(network: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return logits [N, K] and the activation that is explained, ``input`` or ``final``."""
    activation = torch.cat([images, 1 - images], dim=1).requires_grad_()
    if layer == "input":
        return network(activation), activation
    activation = network.forward_features(activation)  # type: ignore[operator]
    pooled = network.avgpool(network.fc(activation)).flatten(1)  # type: ignore[operator]
    return network.logit_layer(pooled), activation  # type: ignore[operator]


def _explain(target: Tensor, activation: Tensor) -> Tensor:
    _Scale.explaining = True
    (gradient,) = torch.autograd.grad(target, activation, create_graph=True, retain_graph=True)
    _Scale.explaining = False
    return (activation * gradient).sum(1)


def official_loss(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    classes: Tensor,
    masks: Tensor,
    guided: Tensor,
    layer: str,
) -> Tensor:
    """Return the loss of a step with the Energy loss, the mean over the guided images times 0.06.

    Args:
        network: Of :func:`official_resnet`.
        images: [N, 3, H, W] in [0, 1].
        labels: float [N, K].
        classes: The class to guide in each image, int64 [N].
        masks: bool [N, H, W].
        guided: Which images are guided, bool [N].
        layer: ``input`` or ``final``.
    """
    logits, activation = _forward(network, images, layer)
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    maps = _explain(logits.gather(1, classes[:, None]).sum(), activation)
    localization = loss.new_zeros(())
    for n in range(len(images)):
        if guided[n]:
            positive = _enlarged(maps[n], masks[n]).clamp(min=0)
            localization = localization + 1 - (positive * masks[n]).sum() / positive.sum()
    return loss + 0.06 * localization / guided.sum()


def official_evaluation(
    network: nn.Module, images: Tensor, pairs: Tensor, layer: str
) -> tuple[Tensor, Tensor]:
    """Return logits [N, K] and the maps [P, h, w] of (image, class) pairs, int64 [P, 2]."""
    logits, activation = _forward(network, images, layer)
    maps = [_explain(logits[image, k], activation)[image].detach() for image, k in pairs.tolist()]
    return logits.detach(), torch.stack(maps)


def _enlarged(attribution: Tensor, mask: Tensor) -> Tensor:
    if attribution.shape == mask.shape:
        return attribution
    return F.interpolate(attribution[None, None], mask.shape, mode="bilinear")[0, 0]
