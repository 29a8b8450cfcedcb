from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.sweep.one_at_a_time import only_process_in


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    with only_process_in(tmp_path / "run"), pytest.raises(InputError, match="another process is running"):  # noqa: SIM117
        with only_process_in(tmp_path / "run"):
            pass
    with only_process_in(tmp_path / "run"):
        pass
