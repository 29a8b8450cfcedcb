"""Estimate what the paper's study on VOC and COCO costs: ``python benchmarks/study_cost.py --help``.

The floating-point operations of a step of a B-cos ResNet-50 on one image of 224 pixels are counted
(``torch.utils.flop_counter``: convolutions and products, not what lies beside them). All else is arithmetic
with the numbers that are printed; reading images is left out.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from guided_step import backward, guided_loss, plain_loss, random_step
from torch.utils.flop_counter import FlopCounterMode

from guidance.attribution import BcosContributions
from guidance.models import Classifier, bcos_resnet


@dataclass(frozen=True)
class Study:
    """A data set's runs: each unguided one is as long as ``unguided_epochs``, each guided one ``epochs``."""

    name: str
    images: int
    val_images: int
    test_images: int
    unguided_epochs: int
    epochs: int
    unguided: int
    guided: dict[str, int]


# Three architectures (B-cos, X-DNN, vanilla), each with one baseline, and guided at the input and at the
# final layer with 11 pairs of loss and weight; on VOC also the B-cos network's annotations (18 runs),
# dilation (24), masks (12), and what depth adds: 18 at Mid1, Mid2 and Mid3, counted like those at the input.
VOC = Study("VOC 2007", 2501, 2510, 4952, 300, 50, 3, {"input": 33 + 18 + 24 + 12 + 18, "final": 33})
COCO = Study("COCO 2014", 74_505, 8_278, 40_504, 60, 10, 3, {"input": 33, "final": 33})
_PAIRS = 1.5  # (image, class) pairs of an image that are explained in evaluation
_FRONT = 5  # checkpoints of a run that are evaluated on test


def main() -> None:
    """Count, then multiply."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--tflops", type=float, default=67, help="peak of a GPU")
    parser.add_argument("--used", type=float, default=0.4, help="part of the peak that is reached")
    parser.add_argument("--price", type=float, default=3.0, help="of a GPU for an hour")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = bcos_resnet(50, 20)
    step = random_step(1, 224)
    plain = count(partial(backward, model, partial(plain_loss, model, *step)))
    cost = {
        layer: count(partial(backward, model, partial(guided_loss, model, *step, BcosContributions(layer))))
        for layer in ("input", "final")
    }
    forward = count(partial(classify, model.eval(), step[0]))
    of_pair = count(partial(explain, model, step[0], step[2])) - forward
    evaluation = forward + _PAIRS * of_pair
    print(f"10^9 operations per image: forward {forward / 1e9:.1f}, a further pair {of_pair / 1e9:.1f},")
    print(
        f"  step not guided {plain / 1e9:.1f}, " + ", ".join(f"at {k} {v / 1e9:.1f}" for k, v in cost.items())
    )
    rate = options.gpus * options.used * options.tflops * 1e12
    print(f"{options.gpus} GPUs, {options.used:.0%} of {options.tflops:g} TFLOPS, {options.price:g} an hour")
    for study in (VOC, COCO):
        trained = study.unguided * study.unguided_epochs * study.images * plain
        trained += sum(n * study.epochs * study.images * cost[layer] for layer, n in study.guided.items())
        guided_runs = sum(study.guided.values())
        seen = study.unguided * study.unguided_epochs + guided_runs * study.epochs
        tests = (study.unguided + guided_runs) * (1 + _FRONT)
        evaluated = (seen * study.val_images + tests * study.test_images) * evaluation
        hours = (trained + evaluated) / rate / 3600
        print(
            f"{study.name}: {study.unguided} + {guided_runs} runs, training {trained:.1e}, evaluation "
            f"{evaluated:.1e} operations: {hours:.1f} hours, {hours * options.gpus * options.price:.0f}"
        )


def count(work: Callable[[], object]) -> float:
    """Return the operations of a piece of work; a product and a sum are two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


@torch.no_grad()
def classify(model: Classifier, images: torch.Tensor) -> None:
    """Run the model."""
    model(images)


def explain(model: Classifier, images: torch.Tensor, classes: torch.Tensor) -> None:
    """Run the model and explain one class of each image at the input."""
    attributor = BcosContributions("input")
    attributor.attribute(attributor.forward(model, images), classes)


if __name__ == "__main__":
    main()
