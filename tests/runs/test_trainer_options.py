"""Trainers that would leave a guided step wrong are refused in one sentence."""

from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.runs.building import build_trainer
from guidance.runs.trainer_options import check_trainer
from tests.tiny import composed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["trainer=ddp", "trainer.strategy=fsdp"],
            r"^trainer\.strategy=fsdp divides the weights.*trainer=ddp",
        ),
        (["+trainer.strategy=fsdp_cpu_offload"], r"^trainer\.strategy=fsdp_cpu_offload divides"),
        (
            ["trainer=ddp", "trainer.strategy=deepspeed_stage_2"],
            r"^trainer\.strategy=deepspeed_stage_2 divides",
        ),
        (["+trainer.strategy=model_parallel"], r"^trainer\.strategy=model_parallel divides"),
        (
            ["+trainer.strategy={_target_: pytorch_lightning.strategies.FSDPStrategy}"],
            r"^trainer\.strategy=pytorch_lightning\.strategies\.FSDPStrategy divides",
        ),
        (["trainer=ddp_cpu", "+trainer.strategy.static_graph=true"], r"^trainer\.strategy\.static_graph"),
        (["trainer.accumulate_grad_batches=0"], r"^trainer\.accumulate_grad_batches is 0"),
        (["trainer.accumulate_grad_batches=1.5"], r"^trainer\.accumulate_grad_batches is 1\.5"),
        (["trainer.gradient_clip_val=0"], r"^trainer\.gradient_clip_val is 0"),
        (["trainer.gradient_clip_val=-1"], r"^trainer\.gradient_clip_val is -1"),
        (["trainer.cpu_kernels=ture"], r"^trainer\.cpu_kernels is ture; it must be true or false"),
        (["trainer.compile=ture"], r"^trainer\.compile is ture; it must be true or false"),
        (["trainer.gradient_clip_val=nan"], r"^trainer\.gradient_clip_val is nan"),
    ],
)
def test_what_would_be_wrong_is_refused(options: list[str], message: str, tmp_path: Path) -> None:
    config = composed(tmp_path, *options)
    with pytest.raises(InputError, match=message):
        build_trainer(config, [], [])


@pytest.mark.parametrize("options", [["trainer=ddp"], ["trainer=ddp_cpu"], ["trainer.gradient_clip_val=0.5"]])
def test_the_others_are_not(options: list[str], tmp_path: Path) -> None:
    check_trainer(composed(tmp_path, *options).trainer)
