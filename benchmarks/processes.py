"""Train the same on one, two and four processes: ``python benchmarks/processes.py --help``.

One epoch of guided training on the embedded data on the CPU, one thread a process, the global batch fixed,
one run after the other, each in forks of this process. Compares weights and validation metrics with those of
the first run, and prints the CPU time that each process spent in its training steps. Wall time is not
printed: it says nothing where there are more processes than free cores.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from guidance.command_line import CONFIG_DIR
from guidance.run_directory import register_resolvers
from guidance.runs.building import build_data, build_module, build_trainer
from guidance.runs.run import quiet_lightning

_METRICS = ("val/f1_micro", "val/epg", "val/iou")


class Record(pl.Callback):
    """Write the CPU seconds of every process in its training steps, and the weights before and after.

    What a fork hands back would be rounded to float32.

    Args:
        folder: Where ``rank0.txt`` and so on, ``before.pt`` and ``after.pt`` are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights that training starts from."""
        if trainer.is_global_zero:
            torch.save(pl_module.state_dict(), self.folder / "before.pt")

    def on_train_batch_start(self, *_: object) -> None:
        """Start the clock."""
        self.seconds -= time.process_time()

    def on_train_batch_end(self, *_: object) -> None:
        """Stop the clock."""
        self.seconds += time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the seconds and the weights."""
        (self.folder / f"rank{trainer.global_rank}.txt").write_text(str(self.seconds))
        if trainer.is_global_zero:
            torch.save(pl_module.state_dict(), self.folder / "after.pt")


def main() -> None:
    """Train on one process, then on several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=32, help="of all processes together")
    parser.add_argument("--width", type=int, default=16, help="of bcos_small")
    parser.add_argument("--precision", default="32-true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    register_resolvers()
    quiet_lightning()
    print(
        f"torch {torch.__version__}, bcos_small, width {options.width}, batch {options.batch_size}",
        flush=True,
    )
    first: dict[str, torch.Tensor] = {}
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as folder:
            metrics = train(configuration(options, processes), Path(folder))
            seconds = sorted(float(path.read_text()) for path in Path(folder).glob("rank*.txt"))
            before, weights = (torch.load(Path(folder) / f"{name}.pt") for name in ("before", "after"))
        first = first or weights
        shown = ", ".join(f"{name} {100 * metrics[name]:.2f}" for name in _METRICS)
        print(
            f"{processes} processes: CPU {sum(seconds):.1f} s in all, {seconds[0]:.1f} to {seconds[-1]:.1f} "
            f"s each; weights moved by {largest(weights, before):.1e}, within {largest(weights, first):.1e} "
            f"of the first run's; {shown}",
            flush=True,
        )


def largest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of any parameter, statistics left out."""
    names = [name for name in one if name.endswith("weight")]
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in names)


def configuration(options: argparse.Namespace, processes: int) -> DictConfig:
    """Return the configuration of one training."""
    overrides = [
        "trainer=ddp_cpu",
        f"trainer.devices={processes}",
        f"trainer.precision={options.precision}",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "+trainer.strategy.start_method=fork",
        f"data.length={{train: {options.images}, val: 64, test: 1}}",
        f"data.batch_size={options.batch_size}",
        f"model.width={options.width}",
        "optimizer.lr=1e-4",
        "paths.output_dir=unused",
    ]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides)


def train(config: DictConfig, folder: Path) -> dict[str, float]:
    """Train; return the metrics on the validation split."""
    pl.seed_everything(config.seed, verbose=False)
    datamodule = build_data(config)
    module = build_module(config, datamodule)
    trainer = build_trainer(config, [], [])
    trainer.callbacks.append(Record(folder))  # type: ignore[attr-defined]
    trainer.fit(module, datamodule)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


if __name__ == "__main__":
    main()
