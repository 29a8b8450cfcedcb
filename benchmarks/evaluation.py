"""Compare explaining all (image, class) pairs of a batch with a stand-in for the official code.

A B-cos ResNet with random weights in evaluation mode, random images. First the maps of both are compared,
then they are timed in turn. Ours is timed once more as if every further pair of an image took a forward
pass of its own, and once by torch alone, without kernels for the CPU. Run ``python benchmarks/evaluation.py
--help``.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial

import torch
from guided_step import by_torch_alone, random_step
from interleaved import at_least_one, compare, restart_with_allocator
from official_stand_in import official_evaluation, official_resnet
from torch import Tensor

from guidance.attribution import BcosContributions, CompiledExplanations, attribute_pairs
from guidance.models import Classifier, bcos_resnet, cpu_kernels
from guidance.models.bcos_resnet import DEPTHS
from guidance.runs.half_precision import has_bfloat16


def main() -> None:
    """Compare maps, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=50, choices=DEPTHS, help="of the ResNet")
    parser.add_argument("--batch-size", type=at_least_one, default=4)
    parser.add_argument("--image-size", type=at_least_one, default=224)
    parser.add_argument("--layer", default="input", choices=("input", "final"))
    parser.add_argument("--classes", type=float, default=1.5, help="pairs per image, on average")
    parser.add_argument("--compile", action="store_true", help="time compiled passes too; takes minutes more")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--threads", type=at_least_one, default=1)
    parser.add_argument("--clock", default="cpu", choices=("cpu", "wall"))
    options = parser.parse_args()
    count = options.batch_size * options.classes
    if not 1 <= count < math.inf:
        parser.error(f"argument --classes: must make at least one pair of a batch; got {options.classes:g}")
    restart_with_allocator()
    with cpu_kernels():
        time_passes(options)


def time_passes(options: argparse.Namespace) -> None:
    """Compare maps of both sides and time the variants."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model = bcos_resnet(options.depth, 20).eval()
    official = official_resnet(options.depth, 20, model.network.state_dict()).eval()
    images = random_step(options.batch_size, options.image_size)[0]
    numbers = torch.arange(round(options.batch_size * options.classes))
    pairs = torch.stack([numbers % options.batch_size, numbers % 20], 1)
    attributor = BcosContributions(options.layer)
    _, theirs = official_evaluation(official, images, pairs, options.layer)
    _, ours = attribute_pairs(attributor, model, images, *pairs.T)
    torch.testing.assert_close(ours[options.layer], theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))

    low = BcosContributions(options.layer, dtype="bfloat16")
    variants: dict[str, Callable[[], object]] = {
        "official": partial(official_evaluation, official, images, pairs, options.layer),
        "one forward pass": partial(attribute_pairs, attributor, model, images, *pairs.T),
        "one forward pass, torch alone": partial(
            by_torch_alone, partial(attribute_pairs, attributor, model, images, *pairs.T)
        ),
        "further forward passes": partial(further_forward_passes, attributor, model, images, pairs),
    }
    half = has_bfloat16(images.device)
    if half:
        variants["one forward pass, bfloat16"] = partial(attribute_pairs, low, model, images, *pairs.T)
    variants["no maps"] = partial(classify, model, images)
    if options.compile:
        for name, each in (("compiled", attributor), ("compiled, bfloat16", low))[: 1 + half]:
            compiled = CompiledExplanations(each, options.batch_size)
            _, again = compiled.attribute_pairs(model, images, *pairs.T)
            error = float((again[options.layer] - theirs).norm() / theirs.norm())
            print(f"{name}: norm of the maps' difference / norm {error:.1e}")
            if not error < (2e-2 if each is low else 1e-3):
                raise AssertionError("the maps are not the stand-in's")
            variants[name] = partial(compiled.attribute_pairs, model, images, *pairs.T)
    size = f"batch {options.batch_size}, {options.image_size} px, {len(pairs)} pairs"
    print(f"B-cos ResNet-{options.depth}, {options.layer}, {size}")
    compare(variants, options.rounds, options.clock)


def further_forward_passes(
    attributor: BcosContributions, model: Classifier, images: Tensor, pairs: Tensor
) -> None:
    """Explain pairs by passes of a model that does not tell that it is linear but for its factors."""
    model.dynamic_linear = False
    attribute_pairs(attributor, model, images, *pairs.T)
    model.dynamic_linear = True


@torch.no_grad()
def classify(model: Classifier, images: Tensor) -> Tensor:
    """Return logits alone."""
    logits: Tensor = model(images)
    return logits


if __name__ == "__main__":
    main()
