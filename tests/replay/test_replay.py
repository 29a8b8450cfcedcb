"""A failed step of a real training, done again from its file alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from guidance.command_line import input_error
from guidance.errors import InputError
from guidance.replay import read_failure, replay
from guidance.replay.__main__ import main
from guidance.runs.run import train
from tests.explain.small import write_checkpoint
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped: the localization loss's gradient is too large to be squared."""
    folder = tmp_path_factory.mktemp("failed")
    config = tiny_config(folder, "loss.weight=1e30", "callbacks.gallery.num_images=0")
    with pytest.raises(InputError, match="training is not finite") as raised:
        train(config)
    assert str(folder / "failure.pt") in (input_error(raised.value) or "")
    assert not (folder / "checkpoints").exists()
    return folder / "failure.pt"


def changed(failed: Path, folder: Path, **changes: Any) -> Path:
    content = torch.load(failed, weights_only=True)
    content["failure"] |= changes
    torch.save(content, folder / "failure.pt")
    return folder / "failure.pt"


def test_the_same_is_found_again(failed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(failed)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("epoch 0, step 0, 8 images\nlocalization loss: ")
    assert "not finite: gradient" in printed
    assert "too large" in printed
    assert printed.endswith("the same as in the run\n")
    done = replay(failed)
    assert done.same
    assert done.losses["loss"] == pytest.approx(1e30 * done.losses["localization_loss"], rel=1e-4)


def test_a_difference_is_said(failed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failure, _ = read_failure(failed)
    batch = torch.load(failed, weights_only=True)["failure"]["batch"]
    batch["images"] = batch["images"].float()
    batch["images"][3, 0, 0, 0] = torch.nan
    assert main([str(changed(failed, tmp_path, batch=batch))]) == 1
    printed = capsys.readouterr().out
    assert f"not finite: input (nan) of 1 image: {failure.names[3]}; then logits" in printed
    assert printed.endswith("NOT the same as in the run\n")


def test_a_step_that_is_finite_now(failed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(failed, weights_only=True)
    content["guidance"]["config"]["loss"]["weight"] = 1.0
    torch.save(content, tmp_path / "failure.pt")
    assert main([str(tmp_path / "failure.pt")]) == 1
    assert "everything is finite" in capsys.readouterr().out


def test_other_files_are_refused(failed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.ckpt")
    for path, message in (
        (checkpoint, "holds no step that was not finite; name the failure.pt of a run"),
        (changed(failed, tmp_path, version=2), "has version 2, this one reads up to 1"),
        (tmp_path / "gone.pt", f"no file {tmp_path / 'gone.pt'}; name the failure.pt of a run"),
    ):
        with pytest.raises(SystemExit) as raised:
            main([str(path)])
        assert raised.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("group", ["loss.localization", "model", "attributor"])
def test_a_stranger_s_file_runs_nothing(failed: Path, tmp_path: Path, group: str) -> None:
    content = torch.load(failed, weights_only=True)
    part = content["guidance"]["config"]
    for key in group.split("."):
        part = part[key]
    part.clear()
    part |= {"_target_": "os.system", "command": f"touch {tmp_path / 'trace'}"}
    torch.save(content, tmp_path / "failure.pt")
    with pytest.raises(InputError, match=r"names 'os\.system', which is not built"):
        replay(tmp_path / "failure.pt")
    assert not (tmp_path / "trace").exists()
