"""What docs/studies.md shows must run."""

import re
import shlex

import pytest

from guidance.claims.__main__ import _OWN as CLAIMS_OPTIONS
from guidance.command_line import CONFIG_DIR, check_overrides
from guidance.search import parse_space
from guidance.search.__main__ import _OWN as SEARCH_OPTIONS
from tests.tiny import ROOT

PAGE = (ROOT / "docs" / "studies.md").read_text()
COMMANDS = [c for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for c in block.splitlines()]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python train.py")])
def test_trainings_compose(command: str) -> None:
    check_overrides("train", shlex.split(command)[2:])


def test_the_other_commands_have_the_options_they_name() -> None:
    others = [shlex.split(c) for c in COMMANDS if c.startswith("python -m")]
    assert {c[2] for c in others} == {"guidance.search", "guidance.claims"}
    for _, _, module, *arguments in others:
        own = SEARCH_OPTIONS if module == "guidance.search" else CLAIMS_OPTIONS
        overrides = [one for one in arguments if one.partition("=")[0] not in own]
        if module == "guidance.search":
            check_overrides("train", parse_space(overrides).example())
        else:
            assert not overrides


def test_every_study_and_choice_is_listed() -> None:
    for study in (CONFIG_DIR / "experiment" / "study").glob("*.yaml"):
        assert f"`study/{study.stem}`" in PAGE
    for group in ("recipe", "architecture"):
        for option in (CONFIG_DIR / group).glob("*.yaml"):
            assert f"`{option.stem}`" in PAGE or option.stem == "bcos_small"
