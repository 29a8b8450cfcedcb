"""What judging every step costs: ``python benchmarks/finite_guard.py --help``.

The same guided trainings with and without the guard, in turn; random weights and images, with the optimizer.
"""

import argparse
import tempfile
from functools import partial

import pytorch_lightning as pl
import torch
from interleaved import at_least_one, compare, restart_with_allocator
from torch.utils.data import DataLoader

from guidance.attribution import BcosContributions
from guidance.callbacks import FiniteGuard
from guidance.data import Batch
from guidance.losses import EnergyLoss
from guidance.models import bcos_resnet
from guidance.models.bcos_resnet import DEPTHS
from guidance.runs.run import quiet_lightning
from guidance.training.module import GuidedClassifier

NUM_CLASSES = 20


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=18, choices=DEPTHS, help="of the ResNet")
    parser.add_argument("--batch-size", type=at_least_one, default=8)
    parser.add_argument("--image-size", type=at_least_one, default=112)
    parser.add_argument("--steps", type=at_least_one, default=5, help="of a training")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--threads", type=at_least_one, default=1)
    parser.add_argument("--clock", default="cpu", choices=("cpu", "wall"))
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "gpu"))
    options = parser.parse_args()
    restart_with_allocator()
    quiet_lightning()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    module = GuidedClassifier(
        bcos_resnet(options.depth, NUM_CLASSES),
        BcosContributions(),
        [str(k) for k in range(NUM_CLASSES)],
        localization=EnergyLoss(),
        weight=0.06,
    )
    batches = [
        random_batch(options.batch_size, options.image_size, number) for number in range(options.steps)
    ]
    print(f"B-cos ResNet-{options.depth}, batch {options.batch_size}, {options.image_size} px, input")
    with tempfile.TemporaryDirectory() as folder:
        variants = {
            "without the guard": partial(train, module, batches, options.accelerator, None),
            "with the guard": partial(train, module, batches, options.accelerator, FiniteGuard(folder)),
        }
        compare(variants, options.rounds, options.clock)


def random_batch(batch_size: int, size: int, seed: int) -> Batch:
    """Return random images with one box each."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.arange(batch_size)
    classes = torch.randint(0, NUM_CLASSES, (batch_size,), generator=generator)
    none = torch.zeros(0, dtype=torch.int64)
    return Batch(
        images=torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, generator=generator),
        labels=torch.nn.functional.one_hot(classes, NUM_CLASSES).bool(),
        boxes=torch.tensor([[size // 8, size // 4, size // 2, size // 2]]).repeat(batch_size, 1),
        box_images=numbers,
        box_classes=classes,
        runs=none.new_zeros(0, 2),
        run_images=none,
        run_classes=none,
        annotated=torch.ones(batch_size, dtype=torch.bool),
        outside=torch.zeros(batch_size, dtype=torch.bool),
        groups=torch.full((batch_size,), -1),
        indices=numbers,
    )


def train(
    module: GuidedClassifier, batches: list[Batch], accelerator: str, guard: FiniteGuard | None
) -> None:
    """Train for one epoch."""
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        callbacks=[] if guard is None else [guard],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
