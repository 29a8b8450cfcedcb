"""What benchmarks of a B-cos ResNet's guided step have in common: network, images, threads."""

import argparse

import torch
from guided_step import Step, random_step
from interleaved import at_least_one, restart_with_allocator

from guidance.models import Classifier, bcos_resnet
from guidance.models.bcos_resnet import DEPTHS


def step_parser(description: str | None, threads: int = 1) -> argparse.ArgumentParser:
    """Return a parser of the options that :func:`begin` reads; ``threads`` is what is not given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--depth", type=int, default=50, choices=DEPTHS, help="of the ResNet")
    parser.add_argument("--batch-size", type=at_least_one, default=8)
    parser.add_argument("--image-size", type=at_least_one, default=224)
    parser.add_argument("--threads", type=at_least_one, default=threads)
    return parser


def begin(options: argparse.Namespace) -> tuple[Classifier, Step]:
    """Set the allocator and the threads; return a network and a batch, both random and always the same."""
    restart_with_allocator()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return bcos_resnet(options.depth, 20), random_step(options.batch_size, options.image_size)
