"""What docs/studies.md shows must run."""

from guidance.command_line import CONFIG_DIR
from tests.tiny import ROOT

PAGE = (ROOT / "docs" / "studies.md").read_text()


def test_every_study_and_choice_is_listed() -> None:
    for study in (CONFIG_DIR / "experiment" / "study").glob("*.yaml"):
        assert f"`study/{study.stem}`" in PAGE
    for group in ("recipe", "architecture"):
        for option in (CONFIG_DIR / group).glob("*.yaml"):
            assert f"`{option.stem}`" in PAGE or option.stem == "bcos_small"
