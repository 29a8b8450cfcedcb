"""What docs/report.md shows must run."""

import re
import shlex
from pathlib import Path

import pytest

from guidance.report.__main__ import main
from tests.report.run_folders import write_study
from tests.tiny import ROOT

TEXT = (ROOT / "docs" / "report.md").read_text()
REPORTS = sorted(set(re.findall(r"^python -m guidance\.report (.*)", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("command", REPORTS)
def test_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path / "outputs" / "study")
    assert main(shlex.split(command)) == 0


def test_every_option_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"^  (--[a-z0-9-]+)", capsys.readouterr().out, re.MULTILINE))
    table = TEXT.split("## Options")[1].split("\n\n")[1]
    assert set(re.findall(r"^\| `(--[a-z0-9-]+)", table, re.MULTILINE)) == options


def test_the_page_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(code, {})  # noqa: S102 - the documentation's own code
    assert "Energy, epoch 12" in (tmp_path / "outputs" / "page.html").read_text()


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size < 300_000
