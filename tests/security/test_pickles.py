"""A file of weights from a stranger runs nothing, in whatever format it comes, and is no bomb."""

import resource
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from guidance.checkpoints.checkpoint_io import AtomicCheckpointIO
from guidance.checkpoints.reading import read_checkpoint
from guidance.errors import InputError
from guidance.export import load_exported, write_exported
from guidance.models import bcos_small
from guidance.models.weights import read_state_dict
from guidance.protocols.map_file import MapFile
from tests.security.hostile import (
    PICKLES,
    numpy_array,
    pickled_call,
    zip_with_pickle,
)

Write = Callable[[Path, Path], None]
SUFFIXES = [".ckpt", ".pth", ".pt", ".tar", ".bin", ".npy", ".npz", ".safetensors"]


@pytest.mark.parametrize("write", PICKLES)
def test_a_payload_is_not_run(tmp_path: Path, write: Write) -> None:
    trace = tmp_path / "ran"
    for suffix in SUFFIXES:
        path = tmp_path / f"weights{suffix}"
        write(path, trace)
        with pytest.raises(InputError, match=path.name):
            read_state_dict(path)
        with pytest.raises(InputError, match="not a readable checkpoint") as error:
            read_checkpoint(path)
        assert "weights_only" not in str(error.value)  # torch's advice is to switch it off
        with pytest.raises(Exception, match=r"[Ww]eights.only|not a readable checkpoint|subdirectory"):
            AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not trace.exists()


@pytest.mark.parametrize("write", PICKLES)
def test_an_export_s_weights_are_no_pickle(tmp_path: Path, write: Write) -> None:
    trace, folder = tmp_path / "ran", tmp_path / "export"
    model = bcos_small(2, width=4)
    parts = (
        {"_target_": "guidance.models.bcos_small", "width": 4},
        {"_target_": "guidance.attribution.BcosContributions"},
    )
    write_exported(folder, model.state_dict(), *parts, ("a", "b"), 32)
    write(folder / "model.safetensors", trace)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_exported(folder)
    assert not trace.exists()


def test_the_payloads_of_these_tests_do_run_where_they_are_let(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    PICKLES[0](tmp_path / "weights.pt", trace)
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert trace.exists()


def test_maps_of_a_protocol_hold_numbers(tmp_path: Path) -> None:
    maps = MapFile(tmp_path, grids=1, n=2, side=2)
    numpy_array(maps.path("input"), tmp_path / "ran")
    with pytest.raises(ValueError, match="object"):
        maps.read("input", [0])
    assert not (tmp_path / "ran").exists()


# Bombs: a few hundred bytes that ask for gigabytes

_TWO_GIGABYTES = b"J" + (2**31 - 1).to_bytes(4, "little")


def _resident() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def bytes_by_number(path: Path) -> None:
    zip_with_pickle(path, pickled_call("builtins", "bytearray", _TWO_GIGABYTES))


def bytes_by_number_in_the_older_format(path: Path) -> None:
    torch.save({}, path, _use_new_zipfile_serialization=False)
    head = path.read_bytes()[: -len(_last_two_pickles())]
    path.write_bytes(head + pickled_call("__builtin__", "bytearray", _TWO_GIGABYTES))


def _last_two_pickles() -> bytes:
    return b"\x80\x02}q\x00.\x80\x02]q\x00."


def packed_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a/data.pkl", "w") as file:
        file.write(b"\x80\x02X" + (2**29).to_bytes(4, "little"))
        for _ in range(2**9):
            file.write(bytes(2**20))
        file.write(b".")


def a_large_numpy_scalar(path: Path) -> None:
    kind = b"cnumpy\ndtype\nX\x0b\x00\x00\x00V2000000000\x85R"
    zip_with_pickle(path, b"\x80\x02cnumpy._core.multiarray\nscalar\n" + kind + b"\x85R.")


def too_long_a_pickle(path: Path) -> None:
    zip_with_pickle(path, b"\x80\x02(" + b"]" * 2**26 + b"l.")


@pytest.mark.parametrize(
    "write",
    [
        bytes_by_number, bytes_by_number_in_the_older_format, packed_zeros, a_large_numpy_scalar,
        too_long_a_pickle,
    ],
)  # fmt: skip
def test_a_bomb_takes_no_memory(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.pth"
    write(path)
    before = _resident()
    with pytest.raises(InputError, match=r"weights\.pth is not a readable file of weights"):
        read_state_dict(path)
    with pytest.raises(InputError, match="is not a readable checkpoint"):
        read_checkpoint(path)
    with pytest.raises(Exception, match=r"not a readable checkpoint|[Ww]eights.only"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert _resident() - before < 2**28


def test_the_bombs_of_these_tests_go_off_where_they_are_let(tmp_path: Path) -> None:
    small = b"J" + (10**6).to_bytes(4, "little")
    path = zip_with_pickle(tmp_path / "weights.pth", pickled_call("builtins", "bytearray", small))
    assert path.stat().st_size < 1000
    assert len(torch.load(path, weights_only=True)) == 10**6


@pytest.mark.parametrize("newer", [False, True])
def test_numbers_of_older_programs_are_still_read(tmp_path: Path, newer: bool) -> None:
    path = tmp_path / "weights.pth"
    weights = {"conv.weight": torch.ones(2)}
    torch.save(
        {"state_dict": weights, "best": np.float64(0.5), "epoch": np.int64(3)},
        path,
        _use_new_zipfile_serialization=newer,
    )
    assert read_state_dict(path).keys() == weights.keys()
