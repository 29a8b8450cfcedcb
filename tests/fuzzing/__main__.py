"""Fuzz targets, guided by coverage: ``python -m tests.fuzzing [NAME ...] [LIBFUZZER_OPTION ...]``.

Needs ``pip install -e '.[fuzz]'``. Without a name all targets are fuzzed, one after the other, each in a
process of its own. libFuzzer's options say how long (``-max_total_time=120``). What fails is written to
``outputs/fuzzing/``, and ends the target.
"""

import logging
import os
import sys
import warnings
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["guidance", "defusedxml", "yaml", "hydra", "omegaconf"]):
    from tests.fuzzing.targets import TARGETS, try_content

_FAILED = Path("outputs") / "fuzzing"
_LIMITS = ["-timeout=60", "-rss_limit_mb=6000", "-max_len=65536", f"-artifact_prefix={_FAILED}/"]


def _quoted(word: bytes) -> str:
    """Return a word as libFuzzer's dictionaries have it."""
    return '"' + "".join(f"\\x{byte:02X}" for byte in word) + '"'


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target until libFuzzer's options say that it is enough, or something fails; never return."""
    target = TARGETS[name]
    with TemporaryDirectory() as folder:
        seeds, words = Path(folder) / "seeds", Path(folder) / "words"
        seeds.mkdir()
        for number, content in enumerate(target.sound):
            (seeds / str(number)).write_bytes(content)
        words.write_text("".join(f"{_quoted(word)}\n" for word in target.words if len(word) < 64))

        def try_and_keep(content: bytes) -> None:
            try:
                try_content(name, content)
            except BaseException:
                (_FAILED / f"{name}-{sha256(content).hexdigest()[:10]}").write_bytes(content)
                raise

        atheris.Setup([name, *_LIMITS, f"-dict={words}", *options, str(seeds)], try_and_keep)
        atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Fuzz the targets that are named, or all; return 1 if one fails."""
    options = [argument for argument in arguments if argument.startswith("-")]
    names = [argument for argument in arguments if not argument.startswith("-")] or list(TARGETS)
    for name in names:
        if name not in TARGETS:
            sys.exit(f"there is no target {name}; name some of {', '.join(TARGETS)}")
    _FAILED.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.disable()
    failed = []
    for name in names:
        print(f"=== {name}", flush=True)
        child = os.fork()  # what was imported and instrumented is shared
        if child == 0:
            fuzz(name, options)
        if os.waitpid(child, 0)[1]:
            failed.append(name)
    print(f"failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
