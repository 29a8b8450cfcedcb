"""How long it takes to start: ``python benchmarks/start.py --help``.

The help, what is imported, and the time from the start of a process to the end of its first guided training
step: ordinary, compiled, and compiled again from torch's cache on disk. Each line is the minimum, the median
and the maximum of processes that are started one after the other; compiled steps are started once.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENDED = "step ended at "
ROOT = Path(__file__).resolve().parent.parent
PYTHON = {
    "Python alone": "pass",
    "import torch": "import torch",
    "the torch core: losses, attribution, models": (
        "import guidance.losses, guidance.attribution, guidance.models"
    ),
    "import pytorch_lightning": "import pytorch_lightning",
    "import guidance.runs.run": "import guidance.runs.run",
}


def main() -> None:
    """Start processes and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="start compiled runs too; takes minutes more")
    parser.add_argument("--depth", type=int, default=50, choices=(18, 34, 50, 101, 152), help="of the ResNet")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("argument --repeats: must be at least 1")
    if options.first_step:
        first_step(options.depth, options.batch_size, options.image_size, options.compile)
        return
    started(options.repeats, "python train.py --help", [str(ROOT / "train.py"), "--help"])
    for name, code in PYTHON.items():
        started(options.repeats, name, ["-c", code])
    step = [
        str(Path(__file__)),
        "--first-step",
        f"--depth={options.depth}",
        f"--batch-size={options.batch_size}",
        f"--image-size={options.image_size}",
    ]
    name = f"first step, ResNet-{options.depth}, batch {options.batch_size}, {options.image_size} px"
    started(options.repeats, name, step)
    if options.compile:
        with tempfile.TemporaryDirectory() as cache:
            for again in ("", " again"):
                started(1, f"the same, compiled{again}", [*step, "--compile"], cache)


def started(repeats: int, name: str, arguments: list[str], cache: str | None = None) -> None:
    """Start Python several times and print how long until it ended, or until it said that the step had."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if cache is not None:
        environment["TORCHINDUCTOR_CACHE_DIR"] = cache
    seconds = []
    for _ in range(repeats):
        begun = time.time()
        ended = subprocess.run(  # noqa: S603 - named above
            [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        _, step_ended, moment = ended.stdout.rpartition(ENDED)
        seconds.append((float(moment) if step_ended else time.time()) - begun)
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"{name:48} {low:6.1f} / {middle:.1f} / {high:.1f} s", flush=True)


def first_step(depth: int, batch_size: int, image_size: int, compiled: bool) -> None:
    """Take a guided step as a run does, without the trainer, and print when it ended."""
    from hydra import compose, initialize_config_dir

    from guidance.command_line import CONFIG_DIR, check_overrides
    from guidance.processes.allocator import keep_freed_memory
    from guidance.runs.building import build_data, build_module

    overrides = [
        "data=shapes",
        f"data.image_size={image_size}",
        f"data.batch_size={batch_size}",
        f"data.length={{train: {batch_size}, val: 1, test: 1}}",
        f"model=bcos_resnet{depth}",
        "loss=energy",
        f"trainer.compile={compiled}",
        "paths.output_dir=unused",
    ]
    check_overrides("train", overrides)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides)
    keep_freed_memory()
    datamodule = build_data(config)
    datamodule.setup("fit")
    module = build_module(config, datamodule)
    optimizer = module.configure_optimizers()
    batch = next(iter(datamodule.train_dataloader()))
    losses, _ = module.guided_step.losses(module.model, batch, module.guided_step.plan(batch), epoch=0)
    losses["loss"].backward()
    optimizer.step()
    print(f"{ENDED}{time.time()}")


if __name__ == "__main__":
    main()
