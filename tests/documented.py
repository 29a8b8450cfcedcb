"""What the documentation shows: its commands, as a shell would run them, and its blocks of code."""

import importlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from guidance.checkpoints.reading import register_checkpoint_config
from guidance.claims.__main__ import _OWN as CLAIMS_OPTIONS
from guidance.command_line import CONFIG_DIR, check_overrides
from guidance.search import parse_space
from guidance.search.__main__ import _OWN as SEARCH_OPTIONS
from tests.tiny import ROOT

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", *(ROOT / "docs").glob("*.md")]
)

# The configuration of each command that Hydra runs; the others have a parser of their own.
_HYDRA = {
    "train.py": "train",
    "evaluate.py": "evaluate",
    "guidance.data.check": "check",
    "guidance.explain": "explain",
    "guidance.export": "export",
}
_WITH_CHECKPOINTS = ("evaluate", "explain")
_PARSED = {
    "guidance.report": ("_report_parser", "_select_parser"),
    "guidance.data.waterbirds": ("_parser",),
    "guidance.protocols": ("_parser",),
    "guidance.replay": ("_parser",),
}
# Those whose other arguments are overrides of trainings, with the options that are their own.
_WITH_OVERRIDES = {"guidance.search": SEARCH_OPTIONS, "guidance.claims": CLAIMS_OPTIONS}
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it stands for if any, and its text."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text())]


def commands(page: Path) -> list[list[str]]:
    """Return a page's commands in words, comments left out, variables of their block put in."""
    found: list[list[str]] = []
    indented = re.findall(r"^    (python .*)$", page.read_text(), re.MULTILINE)
    texts = [block.text for block in blocks(page) if block.language == "bash"] + ["\n".join(indented)]
    variables: dict[str, str] = {}
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            assignment = re.fullmatch(r"([A-Z]+)=(['\"])(.*)\2", line)
            if assignment:
                name, quote, value = assignment.groups()
                variables[name] = _expanded(value, variables) if quote == '"' else value
            elif line.strip():
                found.append(shlex.split(_expanded(line, variables), comments=True))
    return [words for words in found if words]


def _expanded(text: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        text = text.replace(f"${name}", value)
    return text


def check_command(words: list[str], checkpoints: list[Path], config_dir: Path = CONFIG_DIR) -> bool:
    """Check a command of the project without running it; data and weights that it names need not exist.

    Args:
        words: As the shell gives them.
        checkpoints: What the checkpoints of a command are replaced by.
        config_dir: Of the configuration.

    Returns:
        Whether it is a command of the project that has been checked.

    Raises:
        InputError: If an option or its value does not exist.
        KeyError: If the program does not exist.
    """
    words = words[words[0] == "srun" :]
    if words[0] == "torchrun":
        words = ["python", *words[words.index("train.py") :]]
    if words[0] != "python" or not (words[1] == "-m" or words[1] in _HYDRA):
        return False
    program, arguments = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
    if "--help" in arguments:
        return True
    if program in _PARSED:
        plain, *chosen = _PARSED[program]
        name = chosen[0] if chosen and arguments[:1] == ["select"] else plain
        parser = getattr(importlib.import_module(f"{program}.__main__"), name)()
        parser.parse_args(arguments[1:] if arguments[:1] == ["select"] else arguments)
        return True
    if program in _WITH_OVERRIDES:
        overrides = [a for a in arguments if a.partition("=")[0] not in _WITH_OVERRIDES[program]]
        if program == "guidance.search":
            overrides = parse_space(overrides).example()
        check_overrides("train", ["recipe=shapes", *overrides], config_dir)
        return True
    config_name = _HYDRA[program]
    if config_name in _WITH_CHECKPOINTS:
        arguments = [_with_checkpoints(argument, checkpoints) for argument in arguments]
        if config_name == "explain":
            register_checkpoint_config(arguments, "explain", instead=())
        else:
            register_checkpoint_config(arguments)
    check_overrides(config_name, [a.replace("...", "x") for a in arguments], config_dir)
    return True


def _with_checkpoints(argument: str, checkpoints: list[Path]) -> str:
    key, _, value = argument.partition("=")
    if key != "ckpt_path":
        return argument
    names = value.strip("[]").split(",")
    given = ",".join(str(path) for path in checkpoints[: len(names)])
    return f"ckpt_path=[{given}]" if value.startswith("[") else f"ckpt_path={given}"
