"""A network's confidence while pixels of its image are removed or put back."""

import math

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from guidance.attribution.perturbed import run_changed
from guidance.models import Classifier
from guidance.protocols.candidates import Probability


def confidence_curves(
    classifier: Classifier,
    images: Tensor,
    classes: Tensor,
    ranks: Tensor,
    replacement: Tensor | None,
    steps: int,
    probability: Probability,
    chunk: int,
) -> Tensor:
    """Replace more and more pixels of what a network reads and watch the probability of a class.

    All images and steps are run together, at most ``chunk`` at a time.

    Args:
        classifier: In evaluation mode.
        images: RGB in [0, 1], [N, 3, H, W].
        classes: int64 [N].
        ranks: The place of each pixel in the order of replacement, int64 [N, H, W].
        replacement: What pixels are replaced by after the encoding, [N, C, H, W]; None is 0: no colour at
            all for a B-cos network, the mean colour for one that normalises.
        steps: T; step t replaces the first ``t / T`` of all pixels (rounded down).
        probability: The ``sigmoid`` of the class logit, or the ``softmax`` over all.
        chunk: The most images in one forward pass.

    Returns:
        [N, T + 1].
    """
    pixels = ranks[0].numel()
    counts = torch.arange(steps + 1, device=images.device) * pixels // steps

    def replace(encoded: Tensor, image: Tensor, step: Tensor) -> Tensor:
        replaced = (ranks[image] < counts[step, None, None])[:, None]
        other = encoded.new_zeros(()) if replacement is None else replacement[image].to(encoded.dtype)
        return torch.where(replaced, other, encoded)

    found = []
    for runs in torch.arange(len(images) * (steps + 1), device=images.device).split(chunk):
        image, step = runs // (steps + 1), runs % (steps + 1)
        logits = run_changed(classifier, images[image], "input", replace, image, step).float()
        values = logits.sigmoid() if probability == "sigmoid" else logits.softmax(dim=1)
        found.append(values.gather(1, classes[image, None])[:, 0])
    return torch.cat(found).view(len(images), steps + 1)


def blurred(classifier: Classifier, images: Tensor) -> Tensor:
    """Encode blurred images, from which insertion starts.

    Petsiuk et al., "RISE", BMVC 2018, blur images of 224 pixels with a Gaussian of 5 pixels over 11; other
    sizes are blurred in proportion.

    Args:
        classifier: Knows the encoding.
        images: RGB in [0, 1], [N, 3, H, W].

    Returns:
        What the network reads, [N, C, H, W].
    """
    sigma = 5 * max(images.shape[-2:]) / 224
    reach = max(1, math.ceil(sigma))
    with torch.no_grad():
        encoded: Tensor = classifier.encoding(gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2))
    return encoded
