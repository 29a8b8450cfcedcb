"""What a crash or a bad disk left of a run's files: a torn table, checkpoints of half their length."""

import csv
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from guidance.checkpoints.reading import checkpoint_override, named_checkpoints
from guidance.errors import InputError
from guidance.loggers.metrics_csv import MetricsCSV
from guidance.runs.run import train
from tests.tiny import tiny_config

RUN = ["test_front=false", "trainer.log_every_n_steps=1", "callbacks.gallery.num_images=0"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "run"
    train(tiny_config(folder, *RUN))
    return folder


def copy(whole: Path, folder: Path) -> Path:
    shutil.copytree(whole, folder)
    (folder / "results.json").unlink()
    return folder


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_of_damaged_checkpoints_the_newest_whole_one_is_named_and_continues(
    whole: Path, tmp_path: Path
) -> None:
    folder = copy(whole, tmp_path / "run")
    cut_in_half(folder / "checkpoints" / "last.ckpt")
    (folder / "pareto" / "epoch=001.ckpt").unlink(missing_ok=True)
    (folder / "pareto" / "epoch=001.ckpt").write_bytes(b"")
    for path in (folder / "checkpoints").glob("best*.ckpt"):
        path.unlink()
    with pytest.raises(InputError) as raised:
        train(tiny_config(folder, *RUN, f"ckpt_path={folder}/checkpoints/last.ckpt"))
    message = str(raised.value)
    first = folder / "pareto" / "epoch=000.ckpt"
    assert message.startswith(f"ckpt_path: {folder}/checkpoints/last.ckpt is not a readable checkpoint")
    assert message.endswith(checkpoint_override(first))
    assert "\n" not in message
    train(tiny_config(folder, *RUN, f"ckpt_path='{first}'"))
    ended, expected = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (folder, whole)
    )
    assert ended["global_step"] == expected["global_step"] == 10
    for key, value in expected["state_dict"].items():
        assert torch.equal(value, ended["state_dict"][key]), key


def test_without_a_whole_checkpoint_none_is_named(whole: Path, tmp_path: Path) -> None:
    folder = copy(whole, tmp_path / "run")
    for path in folder.rglob("*.ckpt"):
        cut_in_half(path)
    with pytest.raises(InputError, match=r"last.ckpt is not a readable checkpoint") as raised:
        train(tiny_config(folder, *RUN, f"ckpt_path={folder}/checkpoints/last.ckpt"))
    assert "Go on" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["a/b.ckpt", "a b/epoch=003.ckpt", "it's.ckpt", 'q"u.ckpt', "a,b[1]{x}$y.ckpt"]
)
def test_a_checkpoint_is_named_as_shell_and_command_read_it(name: str) -> None:
    (word,) = shlex.split(checkpoint_override(Path(name)))
    assert named_checkpoints([word]) == [name]


def torn(path: Path, rest: bytes) -> list[str]:
    """Continue a table of steps 0 to 3, with a rest, at step 9; return the steps it has then."""
    logger = MetricsCSV(path)
    logger.rewind(0)
    for step in range(4):
        logger.log_metrics({"epoch": 0, "train/loss": 1.0, "val/epg": 0.5}, step)
    path.write_bytes(path.read_bytes() + rest)
    again = MetricsCSV(path)
    again.rewind(9)
    again.log_metrics({"epoch": 1, "train/loss": 2.0}, 9)
    with path.open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "rest",
    [
        b"0",
        b"0,4",
        b"0,4,0.3",
        b"0,4,0.3,0.12",
        b"0,4,\r\n",
        b"0,4,1,2,3\r\n",
        b"\0" * 4096,
        b"0,x,1,2\r\n",
        b"\xff",
    ],
)
def test_torn_rows_are_dropped(rest: bytes, tmp_path: Path) -> None:
    assert torn(tmp_path / "metrics.csv", rest) == ["0", "1", "2", "3", "9"]


def test_a_whole_row_is_kept(tmp_path: Path) -> None:
    assert torn(tmp_path / "metrics.csv", b"0,4,1,2\r\n") == ["0", "1", "2", "3", "4", "9"]


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"name,age\n", b"epoch"])
def test_a_table_of_something_else_is_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    logger = MetricsCSV(path)
    logger.rewind(5)
    logger.log_metrics({"epoch": 1, "train/loss": 2.0}, 5)
    assert path.read_text().splitlines() == ["epoch,step,train/loss", "1,5,2"]
