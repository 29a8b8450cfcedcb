"""Write the checkpoint that this version of the project leaves to all later ones.

``python -m tests.checkpoints.write``: run it once for each release and each version of the format, and never
again: a file that is there stays.
"""

import contextlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from guidance import __version__
from guidance.checkpoints.migration import FORMAT_VERSION
from guidance.runs.run import train
from tests.tiny import tiny_config

FOLDER = Path(__file__).parent
OVERRIDES = (
    "data.length={train: 8, val: 4, test: 4}",
    "data.batch_size=4",
    "model.width=1",
    "trainer.max_epochs=1",
    "callbacks.gallery=null",
    "callbacks.best=null",
    "paths.data_dir=data",
    "test_front=false",
)
"""Of the run whose last checkpoint is kept; the same as in its resumption."""


def name() -> str:
    """Return the name of the file that this version writes."""
    return f"format{FORMAT_VERSION}-v{__version__}.ckpt"


def main() -> None:
    """Train for two steps in a temporary folder, and keep the last checkpoint."""
    kept = FOLDER / name()
    if kept.exists():
        raise SystemExit(f"{kept} is there and stays")
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        train(tiny_config(Path("run"), *OVERRIDES))
        shutil.move(Path("run") / "checkpoints" / "last.ckpt", kept)
    print(f"written: {kept} ({kept.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
