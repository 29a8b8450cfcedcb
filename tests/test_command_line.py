"""What a person types: help, wrong names, bad input, and what comes back."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guidance.command_line import CONFIG_DIR, check_overrides, input_error
from guidance.errors import InputError
from guidance.run import train
from tests.tiny import ROOT, composed, environment, run_command

GROUPS = sorted(path.name for path in CONFIG_DIR.iterdir() if path.is_dir() and path.name != "hydra")


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_help_names_every_group_option_and_an_example_of_each(program: str, tmp_path: Path) -> None:
    text = run_command(program, "--help", cwd=tmp_path).stdout
    for group in GROUPS:
        options = {path.stem for path in (CONFIG_DIR / group).glob("*.yaml")}
        listed = next(line for line in text.splitlines() if line.startswith(f"{group}: "))
        assert options <= set(listed.partition(": ")[2].split(", "))
        assert f"\n  {group} " in text, f"no example for {group}"
    assert "python train.py [group=option ...]" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_help_loads_nothing_that_takes_long(program: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / program), "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "hydra" in loaded
    slow = {"torch", "torchvision", "pytorch_lightning", "torchmetrics", "wandb", "matplotlib", "bcos"}
    assert not loaded & slow


def test_examples_of_the_help_are_right() -> None:
    """Every `python train.py ...` in the help composes (paths and files need not exist)."""
    lines = (CONFIG_DIR / "hydra" / "default.yaml").read_text().splitlines()
    examples = [line.split("python train.py ", 1)[1] for line in lines if "  python train.py " in line]
    examples = [example.split("   ")[0].split("      (")[0] for example in examples]
    assert len(examples) >= len(GROUPS)
    for example in examples:
        if not example.startswith("["):
            check_overrides("train", example.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss=enrgy"], r"unknown option of loss: 'enrgy'. Did you mean 'energy'\? Known: e2kd, energy, l1"),
        (["model=resnet51"], r"Did you mean 'resnet50'"),
        (["loss=energy,l2"], r"unknown option of loss: 'l2'. Did you mean 'l1'"),
        (["los=energy"], r"unknown key 'los'. Did you mean 'loss'"),
        (["data.rot=/x"], r"unknown key 'data.rot'. .*Known: data.annotated_fraction, data.augmentation"),
        (["data=voc2007", "data.rot=/x"], r"unknown key 'data.rot'. Did you mean 'data.root'"),
        (["loss.wieght=1"], r"unknown key 'loss.wieght'. Did you mean 'loss.weight'"),
        (["optimizer.lr.x=1"], r"'optimizer.lr' holds a value, no keys"),
        (["attributor=gradcam", "attributor.realu=true"], r"Did you mean 'attributor.relu'"),
        (["energy"], r"'energy' is no override: write key=value"),
        (["loss.weight=[1"], r"cannot read the overrides"),
        (["loss=null"], r"unknown option of loss: 'null'. .*Known: e2kd, energy, .*none"),
        (["loss=3"], r"unknown option of loss: '3'"),
        (["hydra/launcher=3"], r"must be a string or a list"),
        (["-m", "loss=glob(*)"], r"'loss=glob\(\*\)': glob\(...\) is not read here; name the values"),
        (["-m", "seed=range(0,0)"], r"'seed=range\(0,0\)' has no value"),
    ],
)
def test_wrong_name_gets_the_right_ones_and_the_nearest(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_overrides("train", arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["loss=energy", "attributor=bcos"],
        ["-m", "loss=energy,l1", "loss.weight=0.1,0.2", "seed=range(0,3)"],
        ["+trainer.fast_dev_run=true"],
        ["data=voc2007", "data.root=/x", "~callbacks.gallery"],
        ["hydra.run.dir=/tmp/x"],
        ["data.length={train: 4, val: 2, test: 2}", "data.length.val=3"],
    ],
)
def test_right_names_pass(arguments: list[str]) -> None:
    check_overrides("train", arguments)


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


def test_root_scripts_are_thin() -> None:
    assert all(len((ROOT / name).read_text().splitlines()) < 40 for name in ("train.py", "evaluate.py"))


def test_parts_of_options_are_not_offered() -> None:
    with pytest.raises(InputError, match=r"Known: deletion, difull, dipart, gridpg, pointing, random\w+$"):
        check_overrides("evaluate", ["data=shapes", "model=bcos_small", "protocol=grids/default"])
    with pytest.raises(InputError, match=r"study/losses"):
        check_overrides("train", ["experiment=study/loss"])
