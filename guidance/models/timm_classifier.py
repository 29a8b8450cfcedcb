"""Classifiers of timm, by name."""

from difflib import get_close_matches
from typing import Any

from guidance.errors import InputError
from guidance.models.classifier import Classifier
from guidance.models.encoding import Normalize
from guidance.models.fixed_size import FixedSizeNormalize
from guidance.models.released_weights import fetch_weights, is_released
from guidance.models.timm_layers import timm_channels_side, timm_layers


def timm_classifier(
    name: str, num_classes: int, pretrained: bool = False, image_size: int | None = None
) -> Classifier:
    """Build a classifier of the package timm, with its own normalisation and a head for K classes.

    Args:
        name: As in ``timm.list_models()``, e.g. ``convnext_tiny`` or, with the name of its weights,
            ``vit_small_patch16_224.augreg_in1k``.
        num_classes: K.
        pretrained: Start from the weights of that name, downloaded once, into the cache of the package
            huggingface_hub, which verifies them and takes up a broken download. Those that are released in
            other places, with a hash in their name, go through
            :func:`guidance.models.released_weights.fetch_weights`. The head is taken over only if it has K
            outputs.
        image_size: Height and width of the images in pixels. Only networks for one size (ViTs, Swin, ...)
            are built for it; None is the size of their weights. Other networks read any.

    Returns:
        The classifier. Layers ``mid1`` ... ``final`` are those of
        :func:`guidance.models.timm_layers.timm_layers`; others are named by their module path.

    Raises:
        InputError: If timm is not installed, it has no such model, cannot build it for the size, or the
            weights cannot be had.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError('model=timm needs the package timm: pip install "model-guidance[timm]"') from error
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(f"unknown timm model '{name}'.{hint} timm.list_models() returns them all")
    options: dict[str, Any] = {}
    try:
        config: Any = timm.get_pretrained_cfg(name)
        size = (image_size, image_size) if image_size is not None else tuple(config.input_size[1:])
        if config.fixed_input_size and size != tuple(config.input_size[1:]):
            options["img_size"] = image_size
        if pretrained and not config.hf_hub_id and config.url and is_released(config.url):
            fetch_weights(config.url)  # into the cache where timm looks
        network: Any = timm.create_model(name, pretrained, num_classes=num_classes, **options)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        given = f"model.pretrained={str(pretrained).lower()}, model.image_size={image_size}"
        raise InputError(f"timm cannot build {name} with {given}: {error}") from error
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    encoding = FixedSizeNormalize(size, mean, std) if config.fixed_input_size else Normalize(mean, std)
    return Classifier(
        network,
        encoding,
        num_classes,
        timm_layers(network),
        prefix_tokens=getattr(network, "num_prefix_tokens", 0),
        channels_side=timm_channels_side(network),
    )
