"""Bad input ends a program with one line that names it."""

from pathlib import Path

import pytest
import torch

from guidance.command_line import input_error
from guidance.errors import InputError
from guidance.runs.run import train
from tests.commands import run_command
from tests.tiny import composed


def test_wrong_name_ends_the_program_with_one_line(tmp_path: Path) -> None:
    result = run_command("train.py", "loss=enrgy", cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: unknown option of loss: 'enrgy'. Did you mean 'energy'?")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=voc2007", "data.root=missing"], "missing"),
        (["attributor.layer=mid9"], "unknown layer 'mid9'"),
        (["attributor.layer=network.logit_layer"], "layer 'network.logit_layer' holds no feature map"),
        (["model=resnet18"], "attributor=bcos explains B-cos networks"),
        (["model.checkpoint=gone.ckpt"], "model.checkpoint: no file gone.ckpt"),
        (["ckpt_path=gone.ckpt"], "ckpt_path: no file gone.ckpt"),
        (["loss.weight=-1"], "loss.weight must be at least 0"),
        (["loss.reduction=max"], "unknown loss.reduction 'max'"),
        (["data.batch_size=0"], "data.batch_size"),
        (["data.annotated_fraction=2"], "data.annotated_fraction"),
        (["data.box_dilation=-0.1"], "data.box_dilation"),
        (["loss.weight=1e39"], "training is not finite in epoch 0, step 0: loss (infinite)"),
        (["trainer=gpu"], "trainer: "),
        (["trainer.precision=31"], "trainer: "),
        (["model._target_=no_such_package.Model"], "model: No module named 'no_such_package'"),
        (["+attributor.depth=3"], "attributor: "),
        (["loss=ppce", "+loss.localization.floor=1"], "loss: loss.localization.floor must be negative"),
    ],
)
def test_bad_input_is_named(arguments: list[str], message: str, tmp_path: Path) -> None:
    if arguments == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Hydra may wrap it
        train(composed(tmp_path / "run", "debug=fast", "trainer.enable_progress_bar=false", *arguments))
    assert message in (input_error(raised.value) or repr(raised.value))


def test_bad_input_ends_the_program_with_one_line(tmp_path: Path) -> None:
    result = run_command("train.py", "data=voc2007", "data.root=missing", cwd=tmp_path, check=False)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "missing" in errors[0]
    assert "data.root" in errors[0]
    assert "Traceback" not in result.stderr


def test_error_from_a_loader_s_worker_is_unwrapped() -> None:
    worker = InputError(
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "  ...\nguidance.errors.InputError: cannot read x.jpg"
    )
    assert input_error(worker) == "cannot read x.jpg"
    chained = RuntimeError("Error in call to target")
    chained.__cause__ = worker
    assert input_error(chained) == "cannot read x.jpg"
    assert input_error(RuntimeError("a bug")) is None


def test_evaluate_needs_a_good_checkpoint(tmp_path: Path) -> None:
    broken, foreign = tmp_path / "broken.ckpt", tmp_path / "foreign.ckpt"
    broken.write_bytes(b"PK\x03\x04 half a file")
    torch.save({"state_dict": {}}, foreign)
    for arguments, message in (
        ([], "evaluate.py needs ckpt_path=FILE"),
        (["ckpt_path=gone.ckpt"], "ckpt_path: no file gone.ckpt"),
        (["ckpt_path=last"], "evaluate.py needs a file"),
        ([f"ckpt_path={broken}"], "broken.ckpt is not a readable checkpoint"),
        ([f"ckpt_path={foreign}"], "foreign.ckpt was not written by this project"),
    ):
        result = run_command("evaluate.py", *arguments, cwd=tmp_path, check=False)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
