"""Options in bfloat16 on a device that multiplies slowly in it, or not at all."""

import logging
from pathlib import Path
from time import perf_counter

import pytest
import torch
import torch.nn.functional as F

from guidance.runs.building import build_trainer
from guidance.runs.half_precision import has_bfloat16
from tests.tiny import composed

BOTH = ["trainer.precision=bf16-mixed", "attributor=bcos", "attributor.dtype=bfloat16"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (BOTH, "trainer.precision=bf16-mixed and attributor.dtype=bfloat16: this processor has no instr"),
        (BOTH[:1], "trainer.precision=bf16-mixed: this processor"),
        (BOTH[1:], "attributor.dtype=bfloat16: this processor"),
        (["attributor=bcos"], None),
        (["attributor=gradcam"], None),
    ],
)
@pytest.mark.parametrize("fast", [False, True])
def test_options_are_named_where_the_processor_is_slow(
    options: list[str],
    named: str | None,
    fast: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guidance.runs.half_precision.has_bfloat16", lambda device: fast)
    with caplog.at_level(logging.WARNING, "guidance"):
        build_trainer(composed(tmp_path, "trainer.accelerator=cpu", *options), [], [])
    messages = [record.message for record in caplog.records]
    assert [message.startswith(str(named)) for message in messages] == [True] * (bool(named) and not fast)


def test_a_gpu_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not has_bfloat16(torch.device("cuda", 0))
    assert has_bfloat16(torch.device("meta"))


@pytest.mark.slow
def test_a_processor_that_has_it_is_no_slower() -> None:
    """What torch says of this processor, against the time of a convolution that fills a cache."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.ones(8, 64, 28, 28, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
        rounds = []
        for _ in range(5):
            begun = perf_counter()
            F.conv2d(x, weight)
            rounds.append(perf_counter() - begun)
        seconds[dtype] = min(rounds)
    assert has_bfloat16(torch.device("cpu")) == (seconds[torch.bfloat16] < 3 * seconds[torch.float32])
