"""Images that vanish, and loader workers that are killed, in the middle of an epoch."""

import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from guidance.command_line import input_error
from guidance.errors import InputError
from guidance.runs.run import train
from tests.commands import run_command
from tests.tiny import composed

IMAGES = 24
RUN = [
    "data=folder",
    "data.format=csv",
    "data.image_size=32",
    "data.batch_size=4",
    "model.width=8",
    "trainer.max_epochs=4",
    "trainer.enable_progress_bar=false",
    "test_front=false",
    "callbacks.gallery.num_images=0",
]


def write_images(root: Path) -> list[Path]:
    """Write a data set of one box per image; return its training images."""
    lines = ["image,class,xmin,ymin,xmax,ymax"]
    names = [f"{number:02d}.png" for number in range(IMAGES)]
    for number, name in enumerate(names):
        Image.new("RGB", (40, 40), (10 * number, 90, 200)).save(root / name)
        lines.append(f"{name},{'ab'[number % 2]},4,4,20,20")
    (root / "annotations.csv").write_text("\n".join(lines) + "\n")
    splits = {"train": names[:16], "val": names[16:20], "test": names[20:]}
    for split, chosen in splits.items():
        (root / f"{split}.txt").write_text("\n".join(chosen) + "\n")
    return [root / name for name in splits["train"]]


def options(root: Path, workers: int, fault: str) -> list[str]:
    """Return the options of a run that is struck in its second epoch, before step 5."""
    given = [f"+callbacks.fault._target_=tests.reliability.faults.{fault}", "+callbacks.fault.step=5"]
    return [*RUN, f"data.root={root}", f"data.num_workers={workers}", *given]


def losing(paths: list[Path], half: bool = False) -> list[str]:
    """Return the options of a fault that strikes files."""
    listed = ",".join(map(str, paths))
    return [f"+callbacks.fault.paths=[{listed}]", f"+callbacks.fault.half={half}"]


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lost_image_is_named_and_the_run_goes_on_when_it_is_back(
    half: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, folder = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    lost = write_images(root)[3]
    kept = lost.read_bytes()
    with pytest.raises(InputError, match="Replace or remove the file") as raised:
        train(composed(folder, *options(root, 0, "Lose"), *losing([lost], half)))
    assert str(lost) in str(raised.value)
    assert f"ckpt_path={folder}/checkpoints/last.ckpt" in caplog.text
    lost.write_bytes(kept)
    last = folder / "checkpoints" / "last.ckpt"
    train(composed(folder, *RUN, f"data.root={root}", "data.num_workers=0", f"ckpt_path={last}"))
    assert torch.load(last, weights_only=True)["global_step"] == 16


@pytest.mark.slow
def test_lost_images_are_not_missed_with_a_cache(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    lost = write_images(root)
    cache = ["data.cache=true", f"data.cache_dir={tmp_path / 'cache'}"]
    train(composed(tmp_path / "run", *options(root, 0, "Lose"), *losing(lost), *cache))
    assert not any(path.exists() for path in lost)


@pytest.mark.slow
def test_one_line_where_a_worker_loses_an_image(tmp_path: Path) -> None:
    root, folder = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    lost = write_images(root)
    ended = run_command(
        "train.py",
        *options(root, 2, "Lose"),
        *losing(lost),
        f"hydra.run.dir={folder}",
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 2
    assert re.fullmatch(
        rf"Error: cannot read the image {root}/\d\d.png: No such file or directory. "
        "Replace or remove the file.",
        ended.stderr.splitlines()[-1],
    )
    assert "Traceback" not in ended.stderr
    assert f"ckpt_path={folder}/checkpoints/last.ckpt" in ended.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_one_line_where_a_worker_is_killed(tmp_path: Path) -> None:
    root, folder = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    write_images(root)
    ended = run_command(
        "train.py", *options(root, 2, "KillWorker"), f"hydra.run.dir={folder}", cwd=tmp_path, check=False
    )
    assert ended.returncode == 2, ended.stderr
    # Torch says "is killed by signal" or "exited unexpectedly", whichever it finds first.
    assert re.match(r"Error: a loader process died \(DataLoader worker \(pid", ended.stderr.splitlines()[-1])
    assert "lower data.num_workers" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"ckpt_path={folder}/checkpoints/last.ckpt" in ended.stdout


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "lower data.num_workers"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "lower data.num_workers"),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
            "workers are out of shared memory. Please try to raise your shared memory limit.",
            "--shm-size",
        ),
        ("some other mistake", None),
    ],
)
def test_what_torch_says_of_a_dead_worker_is_explained(message: str, advice: str | None) -> None:
    found = input_error(RuntimeError(message))
    assert (found is None) if advice is None else (found is not None and advice in found)
