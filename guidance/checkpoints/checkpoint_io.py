"""Lightning's checkpoints as files that are whole, and are loaded without running anything."""

import os.path
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from guidance.checkpoints.migration import migrate
from guidance.errors import InputError
from guidance.files import replacing
from guidance.models.weights_file import refuse_bomb


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside their destination and always loaded weights-only.

    Lightning's own go through the system's temporary folder, often another file system, and through a copy in
    memory. Paths are local.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write ``checkpoint`` to ``path``, atomically.

        Raises:
            WriteError: Naming the path, if the system refuses, as on a full disk; an older file stays.
            TypeError: If ``storage_options`` are given; there are none.
        """
        if storage_options is not None:
            raise TypeError(f"{type(self).__name__} has no storage_options; got {storage_options!r}")
        with replacing(path) as temporary:
            _save(checkpoint, temporary)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load ``path`` with ``weights_only=True``, whatever is asked for: no code in a file is ever run.

        A checkpoint of an older version of this project is migrated.

        Raises:
            FileNotFoundError: If there is no such file.
            pickle.UnpicklingError: If the file holds more than tensors and plain data.
            InputError: If it would take much more memory than its size suggests, is of a newer version, or
                names files outside its own folder to be deleted.
        """
        if Path(path).is_file():
            try:
                refuse_bomb(Path(path))
            except ValueError as error:
                raise InputError(f"ckpt_path: {path} is not a readable checkpoint: {error}") from error
        content = super().load_checkpoint(path, map_location=map_location, weights_only=True)
        if "guidance" in content:
            content = migrate(content, f"ckpt_path: {path}")
        _check_owned_files(content.get("callbacks"), path)
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, which is a file on a disk and nothing else.

        Raises:
            InputError: If it is something else, such as a folder or an address.
        """
        if Path(path).is_dir() or Path(path).suffix != ".ckpt":
            raise InputError(f"{path} is no checkpoint and is not deleted")
        Path(path).unlink(missing_ok=True)


def _check_owned_files(states: Any, path: str | Path) -> None:
    """Refuse Lightning's callbacks that take files of other folders for theirs: they delete their own.

    Raises:
        InputError: Naming the file.
    """
    if not isinstance(states, Mapping):
        return
    for state in states.values():
        if not isinstance(state, Mapping):
            continue
        best = state.get("best_k_models")
        names = [*(best if isinstance(best, Mapping) else ())]
        names += [state.get(key) for key in ("best_model_path", "kth_best_model_path", "last_model_path")]
        for name in filter(None, names):
            # As text: a link in the folder's own path is the user's.
            if os.path.dirname(os.path.normpath(str(name))) != str(state.get("dirpath")):  # noqa: PTH120
                raise InputError(
                    f"ckpt_path: {path} is not resumed: it takes {str(name)[:200]!r} for a checkpoint of its "
                    "own, to be deleted when a better one comes; it is in another folder"
                )


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    """Save to a file; where the system refuses, its own error reaches the caller."""
    try:
        # Into a file that Python opened: torch's own writer would not tell why it failed.
        with path.open("wb") as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:
        # The writer complains once more when it is closed.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
