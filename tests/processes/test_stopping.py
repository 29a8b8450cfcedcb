"""Signals become one exception, at once or when the holder looks, and handlers that were there come back."""

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guidance.command_line import one_line_errors
from guidance.errors import StoppedError
from guidance.processes.stopping import asked, hold, release, stoppable

ALONE = cast(Any, SimpleNamespace(world_size=1))


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    started = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before
    signal.signal(signal.SIGINT, started)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_stops_at_once_where_nobody_holds_it(number: signal.Signals) -> None:
    with pytest.raises(StoppedError) as raised, stoppable():
        send(number)
    assert raised.value.signal == number
    assert raised.value.saved is None


def test_held_signals_wait_and_the_first_one_counts() -> None:
    with pytest.raises(StoppedError) as raised, stoppable():  # noqa: PT012 - what comes before must not raise
        hold()
        assert asked(ALONE) == 0
        send(signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM)
        assert asked(ALONE) == signal.SIGUSR1
        release()
        send(signal.SIGTERM)
    assert raised.value.signal == signal.SIGUSR1


def test_a_second_ctrl_c_does_not_wait() -> None:
    seen = []
    with pytest.raises(StoppedError), stoppable():  # noqa: PT012 - the first one must not raise
        hold()
        send(signal.SIGINT)
        seen.append(asked(ALONE))
        send(signal.SIGINT)
    assert seen == [signal.SIGINT]


def test_a_new_block_was_asked_for_nothing() -> None:
    with pytest.raises(StoppedError), stoppable():
        send(signal.SIGTERM)
    with stoppable():
        hold()
        assert asked(ALONE) == 0


def test_an_inner_block_leaves_everything_to_the_outer_one() -> None:
    with stoppable():
        outer = signal.getsignal(signal.SIGTERM)
        with stoppable():
            pass
        assert signal.getsignal(signal.SIGTERM) is outer


def test_without_a_block_nothing_is_held() -> None:
    hold()
    with pytest.raises(StoppedError), stoppable():
        send(signal.SIGTERM)


def test_ignored_signals_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with stoppable():
            send(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, earlier)


def test_the_handler_that_was_there_is_called_in_the_end() -> None:
    called: list[int] = []
    earlier = signal.signal(signal.SIGUSR2, lambda number, frame: called.append(number))
    try:
        with pytest.raises(StoppedError), stoppable():  # noqa: PT012 - nothing is called before the end
            hold()
            send(signal.SIGUSR2)
            assert called == []
            raise StoppedError(asked(ALONE))
        assert called == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, earlier)


def test_another_thread_changes_no_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def look() -> None:
        with stoppable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


def test_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise StoppedError(signal.SIGTERM, Path("run/checkpoints/last.ckpt"), 7)
    assert ended.value.code == 143
    error = capsys.readouterr().err
    assert error.startswith("stopped by SIGTERM: step 7 is saved in run/checkpoints/last.ckpt; ")
    assert error.count("\n") == 1


def test_it_travels_between_processes() -> None:
    one = StoppedError(signal.SIGINT, Path("last.ckpt"), 3)
    other = pickle.loads(pickle.dumps(one))  # noqa: S301 - made here
    assert str(other) == str(one)
    assert not isinstance(one, Exception), "nothing that catches errors may catch it"
