"""Fuzz one target, guided by coverage: ``python -m tests.fuzzing NAME [LIBFUZZER_OPTION ...]``.

Needs ``pip install -e '.[fuzz]'``. libFuzzer's options say how long (``-max_total_time=120``); a folder among
them keeps what was found interesting. What fails is written to ``outputs/fuzzing/``. Without a name, all
names are printed.
"""

import sys
import warnings
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


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer's options say that it is enough, or something fails."""
    if not arguments:
        print(*TARGETS)
        return
    name, *options = arguments
    if name not in TARGETS:
        sys.exit(f"there is no target {name}; name one of {', '.join(TARGETS)}")
    _FAILED.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        seeds, words = Path(folder) / "seeds", Path(folder) / "words"
        seeds.mkdir()
        for number, content in enumerate(target.sound):
            (seeds / str(number)).write_bytes(content)
        words.write_text("".join(f"{_quoted(word)}\n" for word in target.words if len(word) < 64))
        atheris.Setup(
            [name, *_LIMITS, f"-dict={words}", *options, str(seeds)], lambda data: try_content(name, data)
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
