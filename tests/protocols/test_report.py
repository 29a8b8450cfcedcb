"""What is reported of scores, by hand."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from guidance.protocols.attributors import read_attributors
from guidance.protocols.report import Scored, report
from guidance.protocols.score_file import Chunk, ScoreFile


def test_table_csv_and_numbers(tmp_path: Path) -> None:
    named = read_attributors(["ixg", {"smoothed_ixg": {"kernel_size": 3}}], ["input", "final"])
    scored = []
    for number, one in enumerate(named):
        file = ScoreFile(tmp_path / f"{number}.jsonl", 3)
        file.append(Chunk([1, 2], {"input": [[0.2, 0.4], [0.6, 0.8]], "final": [[1, 1], [1, 1]]}, 3.0, 8))
        file.append(Chunk([0], {"input": [[0.0, 1.0]], "final": [[0, 1 / 3]]}, 3.0, 4))
        scored.append(Scored("net", one, file))
    console = Console(file=io.StringIO(), width=120)
    results = report("DiFull", 3, [0, 8], scored, tmp_path / "out", console)
    assert results["chance"] == pytest.approx(1 / 9)
    assert results["scores"][0] == {
        "model": "net", "method": "ixg", "layer": "input", "setting": "", "maps": 6, "mean": 0.5,
        "std": pytest.approx(((0.25 + 0.09 + 0.01) / 3) ** 0.5), "lower_quartile": pytest.approx(0.25),
        "median": pytest.approx(0.5), "upper_quartile": pytest.approx(0.75),
    }  # fmt: skip
    assert results["cost"][1] == {
        "model": "net", "method": "smoothed_ixg", "setting": "kernel_size=3", "seconds_per_map": 0.5,
        "passes_per_map": 1.0,
    }  # fmt: skip
    with (tmp_path / "out" / "scores.csv").open() as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["model", "method", "layer", "setting", "grid", "cell", "score"]
    assert rows[1:3] == [
        ["net", "ixg", "input", "", "0", "0", "0"],
        ["net", "ixg", "input", "", "0", "8", "1"],
    ]
    assert rows[-1] == ["net", "smoothed_ixg", "final", "kernel_size=3", "2", "8", "1"]
    assert len(rows) == 1 + 2 * 2 * 6
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "DiFull, 3 x 3: mean score in percent (chance 11.1)" in text
    line = next(line for line in text.splitlines() if "smoothed_ixg" in line)
    assert [word for word in line.replace("│", " ").split() if word[0].isdigit()] == [
        "50.0",
        "72.2",
        "0.500",
        "1",
    ]
