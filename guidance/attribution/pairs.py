"""Explain any (image, class) pairs of a batch, without a graph and without a loop over images or classes."""

import torch
from torch import Tensor, nn

from guidance.attribution.attributor import Attributor


def attribute_pairs(
    attributor: Attributor, model: nn.Module, images: Tensor, pair_images: Tensor, pair_classes: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Classify N images and explain P of their (image, class) pairs.

    Each image's first pair is explained by the very pass that classifies it; further pairs of an image are
    packed, N at a time, into passes of their own. So the cost is that of ``N + extra`` forward and backward
    passes, wherever the pairs fall, and no pass is larger than N. If the pass that classifies can be
    restricted (:meth:`~guidance.attribution.ForwardPass.restrict`), further pairs cost a backward pass alone.

    Args:
        attributor: Makes the maps.
        model: In evaluation mode, so that images do not depend on each other.
        images: float [N, 3, H, W].
        pair_images: int64 [P], positions in ``images``.
        pair_classes: int64 [P].

    Returns:
        Logits [N, K] and signed maps [P, h, w] of every layer, all constants. With P = 0 maps are [0, 1, 1].
    """
    if len(pair_images) == 0:
        with torch.no_grad():
            logits: Tensor = model(images)
        return logits, {layer: logits.new_zeros(0, 1, 1) for layer in attributor.layers}
    order = torch.argsort(pair_images, stable=True)
    ordered = pair_images[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]

    classes = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    classes[ordered[first]] = pair_classes[order[first]]
    forward = attributor.forward(model, images)
    of_images = attributor.attribute_layers(forward, classes)
    logits = forward.logits.detach()
    restricts = forward.tape is not None
    if not restricts:
        del forward  # and with it the activations, before the next pass makes its own

    maps = {layer: own.new_empty(len(pair_images), *own.shape[1:]) for layer, own in of_images.items()}
    for layer, own in of_images.items():
        maps[layer][order[first]] = own[ordered[first]]
    extra = order[~first]
    for chunk in extra.split(len(images)) if len(extra) else ():
        if restricts:
            of_chunk = forward.restrict(pair_images[chunk])
        else:
            of_chunk = attributor.forward(model, images[pair_images[chunk]])
        for layer, own in attributor.attribute_layers(of_chunk, pair_classes[chunk]).items():
            maps[layer][chunk] = own
        del of_chunk
    return logits, maps
