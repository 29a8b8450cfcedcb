"""Where the layers ``mid1`` to ``final`` are in the networks of timm."""

from collections.abc import Mapping
from itertools import pairwise

from torch import nn

from guidance.models.classifier import ChannelsSide
from guidance.models.torchvision_layers import NAMES

_NORMS = {"LayerNorm", "LayerNorm2d", "RMSNorm", "RmsNorm", "RmsNorm2d", "SimpleNorm", "SimpleNorm2d"}

# Beside the networks that say so in their attribute `output_fmt`.
_CHANNELS_LAST = ("VOLO", "VisionTransformerSAM")


def timm_layers(network: nn.Module) -> Mapping[str, str]:
    """Return the named layers of a timm classifier, from its own list ``feature_info``.

    Args:
        network: Of ``timm.create_model``.

    Returns:
        ``mid1``, ``mid2``, ``mid3``, ``final`` and their module paths. Of a network whose resolution falls,
        the ends of the four stages with the lowest resolutions; of any other (a ViT), the ends of the blocks
        at about 1/4, 1/2 and 3/4 of its depth and the last. Where a downsampling or the pooling begins with
        a norm of each position, the layer is that norm: it undoes the position's scale, so that activation
        times gradient would be 0 before it. Where only the class token is pooled, the last layer is what the
        last block's attention reads. Empty for a network that lists no features.
    """
    modules = dict(network.named_modules())
    listed = getattr(network, "feature_info", None)
    features = (
        [f for f in listed if f["module"] in modules and f["module"]] if isinstance(listed, list) else []
    )
    if not features:
        return {}
    of_reduction = {feature["reduction"]: feature["module"] for feature in features}
    if len(of_reduction) >= len(NAMES):
        ends = list(of_reduction.values())[-len(NAMES) :]
        paths = [_behind_norm(end, following, modules) for end, following in pairwise(ends)]
    else:
        ends = [feature["module"] for feature in features]
        paths = [ends[max(0, len(ends) * quarter // 4 - 1)] for quarter in (1, 2, 3)]
    if getattr(network, "global_pool", None) == "token" and f"{ends[-1]}.norm1" in modules:
        final = f"{ends[-1]}.norm1"
    else:
        final = "norm" if _undoes_scale(modules.get("norm")) else ends[-1]
    return dict(zip(NAMES, [*paths, final], strict=True))


def timm_channels_side(network: nn.Module) -> ChannelsSide:
    """Return where the blocks of a timm classifier hold channels, see :class:`guidance.models.Classifier`."""
    last = getattr(network, "output_fmt", None) == "NHWC" or type(network).__name__ in _CHANNELS_LAST
    return "last" if last else "first"


def _behind_norm(end: str, following: str, modules: Mapping[str, nn.Module]) -> str:
    """Return the norm that a stage's downsampling begins with, if it begins with one, else ``end``."""
    for path, module in modules.items():
        if path.startswith(f"{following}.downsample") and not any(module.children()):
            return path if _undoes_scale(module) else end
    return end


def _undoes_scale(module: nn.Module | None) -> bool:
    """Return whether a module normalises each position by itself; some are classes of timm's own."""
    return any(base.__name__ in _NORMS for base in type(module).__mro__)
