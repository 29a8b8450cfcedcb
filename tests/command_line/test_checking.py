"""Wrong names are answered with the right ones."""

import pytest

from guidance.command_line import check_overrides
from guidance.errors import InputError


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


def test_parts_of_options_are_not_offered() -> None:
    with pytest.raises(InputError, match=r"Known: deletion, difull, dipart, gridpg, pointing, random\w+$"):
        check_overrides("evaluate", ["data=shapes", "model=bcos_small", "protocol=grids/default"])
    with pytest.raises(InputError, match=r"study/losses"):
        check_overrides("train", ["experiment=study/loss"])
