"""A checkpoint's configuration stands alone and can still be overridden."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from guidance.checkpoints.reading import (
    named_checkpoints,
    portable_config,
    read_checkpoint,
    register_checkpoint_config,
    told_apart,
)
from guidance.errors import InputError
from tests.explain.small import composed, write_checkpoint


def test_references_outside_become_values_and_those_within_a_group_stay() -> None:
    config = OmegaConf.create(
        {
            "seed": 3,
            "paths": {"data_dir": "/d"},
            "data": {
                "root": "${paths.data_dir}",
                "length": {"train": 5},
                "sizes": [1, "${seed}"],
                "module": {
                    "seed": "${seed}",
                    "root": "${..root}",
                    "dataset": {"root": "${...root}", "length": "${...length}"},
                },
            },
        }
    )
    found = portable_config(config)
    assert found["data"] == {
        "root": "/d",
        "length": {"train": 5},
        "sizes": [1, 3],
        "module": {
            "seed": 3,
            "root": "${..root}",
            "dataset": {"root": "${...root}", "length": "${...length}"},
        },
    }
    alone = OmegaConf.create({"data": found["data"]})
    alone.data.root = "/other"
    alone.data.length.train = 7
    assert alone.data.module.dataset == {"root": "/other", "length": {"train": 7}}


def test_checkpoints_are_read_as_hydra_reads_them() -> None:
    assert named_checkpoints(["loss=none"]) == []
    assert named_checkpoints(["ckpt_path=null"]) == []
    assert named_checkpoints(["ckpt_path=a.ckpt", "ckpt_path=b/c.ckpt"]) == ["b/c.ckpt"]
    assert named_checkpoints(["ckpt_path=[a.ckpt,'epoch=1.ckpt']"]) == ["a.ckpt", "epoch=1.ckpt"]
    with pytest.raises(InputError, match="needs quotes of its own"):
        named_checkpoints(["ckpt_path=pareto/epoch=1.ckpt"])
    with pytest.raises(InputError, match="no sweep over checkpoints"):
        named_checkpoints(["ckpt_path=a.ckpt,b.ckpt"])


def test_which_commands_need_a_checkpoint(tmp_path: Path) -> None:
    register_checkpoint_config(["data=shapes", "model=bcos_small"])
    register_checkpoint_config([], "explain", instead=())
    with pytest.raises(InputError, match=r"evaluate.py needs ckpt_path=FILE"):
        register_checkpoint_config(["data=shapes"])
    with pytest.raises(InputError, match=r"explain needs a file"):
        register_checkpoint_config(["ckpt_path=last"], "explain", instead=())
    with pytest.raises(InputError, match=r"ckpt_path names a.ckpt twice"):
        register_checkpoint_config(["ckpt_path=[a.ckpt,a.ckpt]"])


def test_paths_are_told_apart_by_what_differs() -> None:
    assert told_apart(["runs/a/checkpoints/best.ckpt"]) == ["best.ckpt"]
    assert told_apart(["runs/a/checkpoints/best.ckpt", "runs/b/1/checkpoints/best.ckpt"]) == ["a", "b/1"]
    assert told_apart(["a.ckpt", "b.ckpt"]) == ["a", "b"]


def test_each_checkpoint_brings_its_own_parts(tmp_path: Path) -> None:
    first = write_checkpoint(tmp_path / "a.ckpt")
    second = write_checkpoint(tmp_path / "b=1.ckpt", "model.width=4", "attributor=ixg")
    configs = composed(tmp_path, "layer=mid1", "data.image_size=64", checkpoints=[first])
    assert configs[0].model.width == 8
    named = [first, second.rename(tmp_path / "b.ckpt")]
    one, two = composed(tmp_path, "data.image_size=64", checkpoints=named)
    assert (one.model.width, two.model.width) == (8, 4)
    assert one.attributor._target_ != two.attributor._target_
    assert (one.data.image_size, two.data.image_size) == (64, 64)
    assert (one.ckpt_path, two.ckpt_path) == tuple(map(str, named))


@pytest.mark.parametrize("content", [b"", b"half a checkpoi", b"PK\x03\x04", b"\x80\x02", bytes(100)])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.ckpt is not a readable checkpoint"):
        read_checkpoint(tmp_path / "a.ckpt")
