"""What an interrupted run has to share with an uninterrupted one, and what may not be left behind."""

import csv
import fcntl
import json
import os
from pathlib import Path
from typing import Any

import torch

_OWN = {"output.txt", "calls.txt", ".hydra/hydra.yaml", "config.yaml"}
"""Files that tell of the process or of its folder."""
_OF_THE_PROCESS = ("ckpt_path", "current_score")
"""What it was told to continue, and what Lightning's ModelCheckpoint saves but does not restore."""
_COMPARED = ("epoch", "global_step", "state_dict", "optimizer_states", "callbacks", "guidance")


def assert_same(whole: Path, killed: Path) -> None:
    """Compare two folders of runs, sweeps or reports bit for bit, but for the folders' own names.

    Raises:
        AssertionError: Naming the first file that differs.
    """
    assert files(whole) == files(killed), sorted(set(files(whole)) ^ set(files(killed)))
    for name in files(whole):
        one, other = content(whole, name), content(killed, name)
        difference = first_difference(one, other)
        assert difference is None, f"{name}{difference}"


def assert_whole(folder: Path) -> None:
    """Check what holds at any moment: every checkpoint loads and every JSON file parses."""
    for name in files(folder, with_temporary=True):
        if name.endswith((".ckpt", ".json")):
            content(folder, name)


def assert_nothing_left(folder: Path, pids: list[int]) -> None:
    """Check what holds at the end: no temporary file, no held lock, no shared memory of these processes."""
    left = [name for name in files(folder, with_temporary=True) if is_temporary(name)]
    assert not left, f"left behind: {left}"
    for lock in folder.rglob("*.lock"):
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shared = [entry.name for entry in os.scandir("/dev/shm")] if os.path.isdir("/dev/shm") else []  # noqa: S108, PTH112
    own = [name for name in shared if any(str(pid) in name for pid in pids)]
    assert not own, f"shared memory left: {own}"


def is_temporary(name: str) -> bool:
    """Whether a file's name says that it is not to stay."""
    return name.endswith((".tmp", ".part", ".progress", ".bak")) or "/tmp" in name  # noqa: S108


def files(folder: Path, with_temporary: bool = False) -> list[str]:
    """Return the names of a folder's files, sorted; locks, logs and the process's own files are left out."""
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".log")
    )
    return [
        name
        for name in found
        if not any(name == own or name.endswith(f"/{own}") for own in _OWN)
        and (with_temporary or not is_temporary(name))
    ]


def content(folder: Path, name: str) -> Any:
    """Return what a file says, with the folder's name left out of it."""
    path = folder / name
    if name.endswith(".ckpt"):
        loaded = torch.load(path, weights_only=True)
        return _without({key: loaded[key] for key in _COMPARED}, str(folder))
    if name.endswith(".json"):
        return _without(json.loads(path.read_text()), str(folder))
    if name.endswith("metrics.csv"):
        with path.open(newline="") as file:
            return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    if name.endswith((".csv", ".yaml", ".html", ".txt")):
        return path.read_text().replace(str(folder), "")
    return path.read_bytes()


def _without(value: Any, folder: str) -> Any:
    if isinstance(value, dict):
        return {
            _without(key, folder): _without(entry, folder)
            for key, entry in value.items()
            if key not in _OF_THE_PROCESS
        }
    if isinstance(value, list | tuple):
        return [_without(entry, folder) for entry in value]
    return value.replace(folder, "") if isinstance(value, str) else value


def first_difference(one: Any, other: Any) -> str | None:
    """Return where two values differ first, bit for bit, or None."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return None if torch.equal(one, other) and one.dtype == other.dtype else ": a tensor"
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f": keys {sorted(map(str, one.keys() ^ other.keys()))}"
        pairs = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f": {len(one)} entries and {len(other)}"
        pairs = list(zip(range(len(one)), one, other, strict=True))
    else:
        same = one == other or (one != one and other != other)
        return None if same else f": {str(one)[:200]!r} and {str(other)[:200]!r}"
    for key, a, b in pairs:
        found = first_difference(a, b)
        if found is not None:
            return f"/{key}{found}"
    return None
