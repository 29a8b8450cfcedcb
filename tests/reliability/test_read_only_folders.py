"""Folders that may not be written to: for the run, and for the image cache beside the data."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.ordinary_user import run_as_ordinary_user
from tests.tiny import OVERRIDES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's capabilities"),
]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "read only"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize(
    "option",
    ["paths.runs_dir='{}'", "hydra.run.dir='{}/run'", "hydra.run.dir='{}'"],
    ids=["runs", "new", "run"],
)
def test_one_line_where_the_run_may_not_write(option: str, read_only: Path, tmp_path: Path) -> None:
    ended = run_as_ordinary_user("train.py", *OVERRIDES, option.format(read_only), cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(f"Error: cannot write to {read_only}")
    assert f"{read_only} may not be written to" in line
    assert "paths.runs_dir" in line
    assert "Traceback" not in ended.stderr


def test_one_line_where_the_cache_may_not_write(read_only: Path, tmp_path: Path) -> None:
    options = ["data.cache=true", f"data.cache_dir='{read_only}/cache'", f"hydra.run.dir={tmp_path / 'run'}"]
    ended = run_as_ordinary_user("train.py", *OVERRIDES, *options, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(f"Error: data.cache_dir: cannot write to {read_only}/cache: Permission denied")
    assert "data.cache=false" in line
    assert "Traceback" not in ended.stderr
