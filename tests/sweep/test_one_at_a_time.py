import threading
from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.sweep import one_at_a_time
from guidance.sweep.one_at_a_time import only_process_in


def test_a_folder_has_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_at_a_time, "_SECONDS", 0.1)
    with only_process_in(tmp_path / "run"), pytest.raises(InputError, match="another process is running"):  # noqa: SIM117
        with only_process_in(tmp_path / "run"):
            pass
    with only_process_in(tmp_path / "run"):
        pass


def test_what_is_left_of_a_killed_process_is_waited_for(tmp_path: Path) -> None:
    """Loader workers have the lock of the process that started them, and look for it every few seconds."""
    held, given_back = threading.Event(), threading.Event()

    def hold() -> None:
        with only_process_in(tmp_path):
            held.set()
            given_back.wait(0.5)

    worker = threading.Thread(target=hold)
    worker.start()
    held.wait()
    with only_process_in(tmp_path):
        pass
    worker.join()
