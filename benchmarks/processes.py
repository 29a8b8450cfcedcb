"""Train the same on one, two and four processes: ``python benchmarks/processes.py --help``.

Runs ``train.py`` on the embedded data on the CPU, one thread a process, the global batch fixed, one run after
the other. Compares weights and metrics with those of one process, and prints the CPU time that each process
spent from the first training step to the last. Wall time is not printed: it says nothing where there are more
processes than free cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

_HERE = Path(__file__).resolve().parent
_METRICS = ("f1_micro", "epg", "iou")


class Clock(pl.Callback):
    """Write the CPU seconds of every process between the beginning and the end of its training steps.

    Args:
        folder: Where ``rank0.txt`` and so on are written.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.seconds = 0.0

    def on_train_batch_start(self, *_: object) -> None:
        """Start the clock."""
        self.seconds -= time.process_time()

    def on_train_batch_end(self, *_: object) -> None:
        """Stop the clock."""
        self.seconds += time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what it shows."""
        (self.folder / f"rank{trainer.global_rank}.txt").write_text(str(self.seconds))


def main() -> None:
    """Train on one process, then on several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=32, help="of all processes together")
    parser.add_argument("--width", type=int, default=16, help="of bcos_small")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, bcos_small, width {options.width}, batch {options.batch_size}")
    first: dict[str, torch.Tensor] = {}
    with tempfile.TemporaryDirectory() as folder:
        for processes in options.processes:
            run = Path(folder) / str(processes)
            train(run, processes, options)
            content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
            weights = content["state_dict"]
            metrics = json.loads((run / "results.json").read_text())
            seconds = sorted(float(path.read_text()) for path in run.glob("rank*.txt"))
            first = first or weights
            apart = max(
                float((value.double() - first[k].double()).abs().max()) for k, value in weights.items()
            )
            shown = ", ".join(f"{k} {100 * metrics[f'val/{k}']:.2f}" for k in _METRICS)
            print(
                f"{processes} processes: {content['global_step']} steps, CPU {sum(seconds):.1f} s in all, "
                f"{seconds[0]:.1f} to {seconds[-1]:.1f} s each; weights within {apart:.1e}; {shown}",
                flush=True,
            )


def train(folder: Path, processes: int, options: argparse.Namespace) -> None:
    """Run one training."""
    trainer = ["trainer=cpu"] if processes == 1 else ["trainer=ddp_cpu", f"trainer.devices={processes}"]
    overrides = [
        *trainer,
        f"data.length={{train: {options.images}, val: 64, test: 32}}",
        f"data.batch_size={options.batch_size}",
        "model=bcos_small",
        f"model.width={options.width}",
        "loss=energy",
        "optimizer.lr=1e-4",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "callbacks.gallery=null",
        "test_front=false",
        f"+callbacks.clock={{_target_: processes.Clock, folder: {folder}}}",
        f"hydra.run.dir={folder}",
    ]
    environment = os.environ | {"PYTHONPATH": f"{_HERE.parent}:{_HERE}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(_HERE.parent / "train.py"), *overrides]
    subprocess.run(command, check=True, env=environment, cwd=folder.parent, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    main()
