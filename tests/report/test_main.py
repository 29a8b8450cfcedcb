"""The command line."""

import json
from pathlib import Path

import pytest

from guidance.report.__main__ import main
from tests.report.run_folders import write_study


def test_select_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path)
    assert main(["select", str(tmp_path), "--max-f1-drop", "0.01"]) == 0
    assert "energy/1-1/pareto/epoch=000.ckpt" in capsys.readouterr().out
    assert main(["select", str(tmp_path), "--max-f1-drop", "0"]) == 1
    assert "none qualifies" in capsys.readouterr().out


def test_grouping_on_the_command_line(tmp_path: Path) -> None:
    write_study(tmp_path / "runs")
    arguments = [str(tmp_path / "runs"), "--gallery-images", "0", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--group-by", "loss.weight,attributor.layer"]) == 0
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["weights"] for one in content["configurations"]] == [[0.0], [0.1], [1.0]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: RUNS"),
        (["nowhere"], "no folder nowhere"),
        ([".", "--max-f1-drop", "5"], "--max-f1-drop is a fraction from 0 to 1"),
        ([".", "--gallery-images", "-1"], "--gallery-images must be at least 0"),
        ([".", "--group-by", "los"], "Did you mean 'loss'"),
        ([".", "--sorted"], "unrecognized arguments: --sorted (see --help)"),
        (["select", "."], ""),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if said:
        write_study(tmp_path)
    else:
        said = "no run in ."
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("Error: ")
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["select", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "--max-f1-drop PART" in text
    assert "RUNS" in text
    assert max(map(len, text.splitlines())) <= 110
