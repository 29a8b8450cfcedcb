"""Freed memory stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from guidance.processes.allocator import keep_freed_memory
done = keep_freed_memory() if sys.argv[1] == "keep" else False
def work():
    torch.ones(50_000_000 // 4)
for _ in range(20):  # glibc first keeps what is left over of the first few blocks
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(mode: str, **variables: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS, mode]
    output = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, check=True, timeout=300
    ).stdout
    done, faults = output.split()
    return done == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_blocks_are_not_faulted_in_again() -> None:
    done, faults = run("keep")
    assert done
    assert faults < 1000  # 50 MB are 12,207 pages


def test_what_the_user_set_stays() -> None:
    assert run("keep", MALLOC_TRIM_THRESHOLD_="16000000000")[0] is False
