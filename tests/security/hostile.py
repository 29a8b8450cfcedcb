"""Files as somebody would write them who means harm. What they run leaves a file behind."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from tests.explain.small import write_checkpoint

Change = Callable[[dict[str, Any]], None]


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def zip_of_torch(path: Path, trace: Path) -> None:
    """A checkpoint as torch saves it, with a payload beside its weights."""
    weights = {"network.weight": torch.zeros(2)}
    torch.save({"state_dict": weights, "guidance": {"format_version": 1}, "x": Payload(trace)}, path)


def state_dict_of_torch(path: Path, trace: Path) -> None:
    """A state dict whose only value is a payload."""
    torch.save({"network.weight": Payload(trace)}, path)


def older_format(path: Path, trace: Path) -> None:
    """A file as torch saved it before it used zip."""
    torch.save({"x": Payload(trace)}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, trace: Path) -> None:
    """A pickle, as old programs wrote it."""
    path.write_bytes(pickle.dumps(Payload(trace)))


def legacy_tar(path: Path, trace: Path) -> None:
    """A tar as torch saved it in its first year: a pickle beside the storages."""
    with tarfile.open(path, "w") as rolled:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Payload(trace) if name == "pickle" else 0, 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            rolled.addfile(member, io.BytesIO(content))


def numpy_array(path: Path, trace: Path) -> None:
    """An array of objects in NumPy's format."""
    with path.open("wb") as file:
        np.save(file, np.array([Payload(trace)], dtype=object))


def numpy_archive(path: Path, trace: Path) -> None:
    """An archive of such arrays."""
    with path.open("wb") as file:
        np.savez(file, weight=np.array([Payload(trace)], dtype=object))


PICKLES = [
    zip_of_torch, state_dict_of_torch, older_format, bare_pickle, legacy_tar, numpy_array, numpy_archive,
]  # fmt: skip


def pickled_call(module: str, name: str, argument: bytes) -> bytes:
    """Return a pickle that calls ``module.name`` with one pickled argument, and is loaded weights-only."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + argument + b"\x85R."


def zip_with_pickle(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a file of torch around a pickle of one's own."""
    with zipfile.ZipFile(path, "w", compression) as packed:
        packed.writestr("archive/data.pkl", content)
        packed.writestr("archive/byteorder", "little")
        packed.writestr("archive/version", "3\n")
    return path


def changed_checkpoint(path: Path, change: Change, *overrides: str) -> Path:
    """Write a checkpoint of this project and change what is in it."""
    content = deepcopy(_content(overrides))
    change(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


@cache
def _content(overrides: tuple[str, ...]) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        path = write_checkpoint(Path(folder) / "a.ckpt", *overrides)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def unchanged(content: dict[str, Any]) -> None:
    """Change nothing."""


def checkpoint_with(path: Path, group: str, key: str, value: Any, *overrides: str) -> Path:
    """Write a checkpoint with another value at a dotted key of a group of its configuration."""

    def change(content: dict[str, Any]) -> None:
        node = content["guidance"]["config"][group]
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        node[last] = value

    return changed_checkpoint(path, change, *overrides)
