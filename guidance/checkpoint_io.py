"""Lightning's checkpoints as files that are whole, and are loaded without running anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from guidance.files import replacing


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

        Raises:
            FileNotFoundError: If there is no such file.
            pickle.UnpicklingError: If the file holds more than tensors and plain data.
        """
        return super().load_checkpoint(path, map_location=map_location, weights_only=True)


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
