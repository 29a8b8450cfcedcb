"""Where the layers ``mid1`` to ``final`` are in the networks of torchvision."""

from collections.abc import Mapping

from torch import nn

# By the beginning of the network's name, the longest that fits: the ends of the stages with 1/4, 1/8, 1/16
# and 1/32 of the image's resolution (AlexNet, Inception and SqueezeNet: about these). Where all that goes on
# from a stage is a norm of each position (ConvNeXt, Swin), the layer is that norm: it undoes the position's
# scale, so that activation times gradient would be 0 before it. Swin's norms have merged 2 x 2 positions.
_STAGES = {
    "alexnet": ("features.2", "features.5", "features.9", "features"),
    "convnext": ("features.2.0", "features.4.0", "features.6.0", "features"),
    "densenet": tuple(f"features.denseblock{stage}" for stage in range(1, 5)),
    "efficientnet": ("features.2", "features.3", "features.5", "features"),
    "googlenet": ("conv3", "inception3b", "inception4e", "inception5b"),
    "inception": ("Conv2d_3b_1x1", "Mixed_5d", "Mixed_6e", "Mixed_7c"),
    "maxvit": tuple(f"blocks.{stage}" for stage in range(4)),
    "mnasnet": ("layers.8", "layers.9", "layers.11", "layers"),
    "mobilenet_v2": ("features.3", "features.6", "features.13", "features"),
    "mobilenet_v3_large": ("features.3", "features.6", "features.12", "features"),
    "mobilenet_v3_small": ("features.1", "features.3", "features.8", "features"),
    "regnet": tuple(f"trunk_output.block{stage}" for stage in range(1, 5)),
    "resnet": tuple(f"layer{stage}" for stage in range(1, 5)),
    "resnext": tuple(f"layer{stage}" for stage in range(1, 5)),
    "shufflenet": ("maxpool", "stage2", "stage3", "conv5"),
    "squeezenet1_0": ("features.5", "features.8", "features.10", "features"),
    "squeezenet1_1": ("features.4", "features.7", "features.10", "features"),
    "swin": ("features.2.norm", "features.4.norm", "features.6.norm", "norm"),
    "swin_v2": ("features.1", "features.3", "features.5", "norm"),
    "wide_resnet": tuple(f"layer{stage}" for stage in range(1, 5)),
}
NAMES = ("mid1", "mid2", "mid3", "final")


def torchvision_layers(name: str, network: nn.Module) -> Mapping[str, str]:
    """Return the named layers of a torchvision classifier.

    Args:
        name: As in ``torchvision.models``.
        network: The network of that name.

    Returns:
        ``mid1``, ``mid2``, ``mid3``, ``final`` and their module paths. Of a ViT they are the ends of the
        blocks at about 1/4, 1/2 and 3/4 of its depth, and what the last block's attention reads: behind it,
        only the class token reaches the logits. Of a VGG, the last four of its five poolings. Empty for a
        network that is not listed here: its layers are named by their module paths.
    """
    if name.startswith("vit"):
        blocks = len(network.get_submodule("encoder.layers"))  # type: ignore[arg-type]
        paths = tuple(f"encoder.layers.encoder_layer_{blocks * q // 4 - 1}" for q in (1, 2, 3))
        paths += (f"encoder.layers.encoder_layer_{blocks - 1}.ln_1",)
    elif name.startswith("vgg"):
        features = network.get_submodule("features").named_children()
        paths = tuple(f"features.{i}" for i, module in features if isinstance(module, nn.MaxPool2d))[1:]
    else:
        families = [family for family in _STAGES if name.startswith(family)]
        paths = _STAGES[max(families, key=len)] if families else ()
    return dict(zip(NAMES, paths, strict=False))
