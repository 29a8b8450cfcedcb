"""Measure how much memory a step takes: ``python benchmarks/memory.py --help``.

Each variant runs in a fresh process, one after the other: a B-cos ResNet with random weights, random images,
the Energy loss, one thread. A step is forward, explanation, losses and backward, without the optimizer; one
of evaluation, a batch with four pairs an image. What is printed is how far the process's resident memory rose
above where it was before the step, at its peak. The first step of a process is measured, so gradients are
part of it; of a compiled one the second, after the gradients of the first were given back.
"""

import argparse
import ctypes
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from guided_step import backward, compiled_loss, guided_loss, official_plain_loss, plain_loss, random_step
from official_stand_in import official_loss, official_resnet

from guidance.attribution import BcosContributions, CompiledExplanations
from guidance.models import bcos_resnet, cpu_kernels, kernels
from guidance.models.bcos_resnet import DEPTHS

_VARIANTS = (
    "stand-in, guided",
    "stand-in, not guided",
    "guided",
    "guided, bf16-mixed",
    "guided, compiled",
    "guided, compiled, bfloat16",
    "guided at final",
    "10 % guided",
    "not guided",
    "evaluation, compiled",
)


def main() -> None:
    """Measure one variant after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=50, choices=DEPTHS, help="of the ResNet")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--only", choices=_VARIANTS, help="measure one variant, in this process")
    options = parser.parse_args()
    if options.only:
        print(f"{options.only:28}{measure(options):8.0f} MB{time.process_time():8.0f} s of CPU", flush=True)
        return
    print(
        f"torch {torch.__version__}, B-cos ResNet-{options.depth}, batch {options.batch_size}, "
        f"{options.image_size} px",
        flush=True,
    )
    for variant in _VARIANTS:
        subprocess.run([sys.executable, *sys.argv, "--only", variant], check=True)  # noqa: S603


def measure(options: argparse.Namespace) -> float:
    """Return the rise of one step in megabytes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = bcos_resnet(options.depth, 20)
    official = None
    if options.only.startswith("stand-in"):
        official = official_resnet(options.depth, 20, model.network.state_dict())
    few = max(1, options.batch_size // 10) if options.only == "10 % guided" else None
    step = random_step(options.batch_size, options.image_size, few)
    layer = "final" if options.only == "guided at final" else "input"
    work: Callable[[], object]
    if official is not None and options.only == "stand-in, guided":
        work = partial(backward, official, partial(official_loss, official, *step, layer))
    elif official is not None:
        work = partial(backward, official, partial(official_plain_loss, official, *step))
    elif options.only == "not guided":
        work = partial(backward, model, partial(plain_loss, model, *step))
    elif "compiled" in options.only:
        attributor = BcosContributions(layer, dtype="bfloat16" if "bfloat16" in options.only else None)
        compiled = CompiledExplanations(attributor, options.batch_size)
        work = partial(backward, model, partial(compiled_loss, model, compiled, *step))
        if options.only.startswith("evaluation"):
            pairs = torch.arange(4 * options.batch_size)
            images, classes = pairs % options.batch_size, pairs % 20
            work = partial(compiled.attribute_pairs, model.eval(), step[0], images, classes)
        work()
        model.zero_grad()
        ctypes.CDLL(None).malloc_trim(0)
    else:
        work = partial(backward, model, partial(guided_loss, model, *step, BcosContributions(layer)))
    for name in kernels.NAMES:  # what is loaded once is no part of a step
        kernels.ready(name)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    with cpu_kernels(), torch.autocast("cpu", torch.bfloat16, enabled=options.only.endswith("bf16-mixed")):
        work()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    """Return a number of this process's status, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    value = next(line for line in lines if line.startswith(f"{key}:"))
    return int(value.split()[1]) / 1024


if __name__ == "__main__":
    main()
