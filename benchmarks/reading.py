"""Images per second and memory of one epoch of reading PASCAL VOC: ``python benchmarks/reading.py ROOT``.

Reads the training split once from its files and once from the cache (which it builds first), with one thread
in the main process or in each worker, at 224 pixels. Workers stay from one epoch to the next; the epoch that
starts them is not timed. RssAnon is memory that the process owns; RssFile are pages of files,
the cache's among them, which the system takes back when it needs them.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch

from guidance.data import VOC, GuidanceDataModule
from guidance.errors import InputError


def main() -> None:
    """Measure both ways of reading, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", help="the folder that holds VOCdevkit")
    parser.add_argument("--year", default="2007")
    parser.add_argument("--cache-dir", default="data/cache")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1, help="that are timed together")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = partial(VOC, root=options.root, year=options.year)
    print(f"{'':16}{_memory()}")
    for cache in (False, True):
        data = GuidanceDataModule(
            dataset,
            224,
            options.batch_size,
            num_workers=options.num_workers,
            cache=cache,
            cache_dir=options.cache_dir,
        )
        try:
            data.split("train")
        except InputError as error:
            parser.error(str(error))
        begun = time.perf_counter()
        loader = data.train_dataloader()
        print(f"{'cache' if cache else 'files'}: ready in {time.perf_counter() - begun:.1f} s; {_memory()}")
        if options.num_workers:
            sum(len(batch) for batch in loader)  # workers stay from one epoch to the next
        begun = time.perf_counter()
        count = sum(len(batch) for _ in range(options.epochs) for batch in loader)
        rate = count / (time.perf_counter() - begun)
        print(f"  {count} images, {rate:.0f} images/s; {_memory()}")


def _memory() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return ", ".join(f"{key} {int(values[key].split()[0]) / 1024:.0f} MB" for key in ("RssAnon", "RssFile"))


if __name__ == "__main__":
    main()
