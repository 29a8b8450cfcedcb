"""All targets by name."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzzing import annotations, binaries, commands, folders, records
from tests.fuzzing.target import Target

TARGETS: Mapping[str, Target] = (
    annotations.TARGETS | records.TARGETS | binaries.TARGETS | folders.TARGETS | commands.TARGETS
)


def try_content(name: str, content: bytes) -> None:
    """Give a target some content, in a folder that is empty and goes away."""
    with TemporaryDirectory(prefix="fuzzing-") as folder:
        TARGETS[name].parse(content, Path(folder))
