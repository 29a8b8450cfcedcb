"""X-DNN ResNets: without any bias, so that Input x Gradient equals Integrated Gradients."""

from math import sqrt

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from guidance.errors import unknown_name
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize

_STAGES = {"mid1": "layer1", "mid2": "layer2", "mid3": "layer3", "final": "layer4"}
_BLOCKS = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}


def xdnn_resnet(depth: int, num_classes: int) -> Classifier:
    """Build an X-DNN ResNet: a ResNet without normalisation layers and without a single bias.

    Hesse, Schaub-Meyer and Roth, "Fast Axiomatic Attribution for Neural Networks", NeurIPS 2021 (arXiv
    2111.07668). Such a network is nonnegatively homogeneous, ``f(a x) = a f(x)`` for a >= 0, so that
    ``f(x) = sum(x * df/dx)`` and Input x Gradient equals Integrated Gradients with the baseline 0, at the
    cost of one backward pass. x is the image with ImageNet's mean and standard deviation normalised away, as
    the released networks read it: the baseline 0 is an image of the mean colour, whose logits are 0.

    It is trainable without normalisation through the initialisation of Zhang, Dauphin and Ma, "Fixup",
    ICLR 2019 (arXiv 1901.09321): the last convolution of every residual branch starts at 0, its others are
    scaled by ``L^(-1 / (2m - 2))`` with L blocks of m convolutions. Fixup's biases are left out, and as in
    the released networks its multipliers too. The classifier starts at random, not at 0 as in Fixup, so that
    there are maps to guide from the first step on.

    Parameters have the names of the released ``xfixup_resnet50_model_best.pth.tar``, which
    ``model.checkpoint`` reads; its classifier is taken over only if K is 1000.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: K.

    Returns:
        The classifier; layers ``input``, ``mid1``, ``mid2``, ``mid3`` (after stages 1 to 3), ``final``.

    Raises:
        InputError: If there is no such depth.
    """
    if depth not in _BLOCKS:
        raise unknown_name("model.depth", str(depth), map(str, _BLOCKS))
    block, counts = _BLOCKS[depth]
    network = ResNet(block, counts, num_classes=num_classes, norm_layer=nn.Identity)
    network.fc = nn.Linear(network.fc.in_features, num_classes, bias=False)
    for module in network.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            _initialise(module, sum(counts))
    return Classifier(network, Normalize(), num_classes, _STAGES)


def _initialise(block: BasicBlock | Bottleneck, blocks: int) -> None:
    """Apply Fixup to one residual block of ``blocks``; its shortcut becomes a bare convolution."""
    branch = [block.conv1, block.conv2] + ([block.conv3] if isinstance(block, Bottleneck) else [])
    scale = blocks ** (-1 / (2 * len(branch) - 2))
    for convolution in branch[:-1]:
        fan_out = convolution.weight[:, 0].numel()
        nn.init.normal_(convolution.weight, std=scale * sqrt(2 / fan_out))
    nn.init.zeros_(branch[-1].weight)
    if block.downsample is not None:
        block.downsample = block.downsample[0]
