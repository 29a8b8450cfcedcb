import json
import math
import os
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from guidance.checkpoints.checkpoint_io import AtomicCheckpointIO
from guidance.files import replacing, write_atomically, write_json


class _DiedError(Exception):
    pass


def _interrupt_in_the_middle(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half of the ne")
        raise KeyboardInterrupt


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _die(*arguments: Any, **named: Any) -> None:
    raise _DiedError


def test_writes_text_and_bytes_into_new_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.txt", "Böhle\n")
    write_atomically(str(tmp_path / "a" / "c.bin"), b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "Böhle\n".encode()
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a") == ["b.txt", "c.bin"]


def test_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_interrupted_write_leaves_the_old_file_whole(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr(os, call, _die)
    with pytest.raises(_DiedError):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_block_that_raises_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(KeyboardInterrupt):
        _interrupt_in_the_middle(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_left_over_of_a_killed_process_is_reused(tmp_path: Path) -> None:
    (tmp_path / "file.tmp").write_text("a long rest of what was being written")
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_json_keeps_the_order_of_keys_and_writes_nan_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, math.nan, (2.5, -math.inf)], "a": {"c": "x"}, "n": None})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": [1, None, [2.5, None]], "a": {"c": "x"}, "n": None}
    assert list(json.loads(text)) == ["b", "a", "n"]
    assert text.endswith("}\n")


def test_json_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": torch.zeros(1)})
    assert names(tmp_path) == []


def test_checkpoint_comes_back(tmp_path: Path) -> None:
    weight = torch.arange(3.0)
    path = tmp_path / "new" / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weight": weight, "epoch": 3, "names": ["a"]}, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(loaded.pop("weight"), weight)
    assert loaded == {"epoch": 3, "names": ["a"]}
    assert names(path.parent) == ["a.ckpt"]


def test_interrupted_save_leaves_the_old_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def half_saved(state: Any, target: BinaryIO) -> None:
        target.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half_saved)
    with pytest.raises(OSError, match="no space"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert names(tmp_path) == ["a.ckpt"]


@pytest.mark.parametrize("asked", [None, False])
def test_code_in_a_checkpoint_is_never_run(
    asked: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "a.ckpt"
    torch.save({"path": tmp_path}, path)
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=asked)


def test_missing_checkpoint_and_storage_options(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match="storage_options"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "a.ckpt", storage_options={"a": 1})
