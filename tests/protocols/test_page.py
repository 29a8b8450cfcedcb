"""The page of one protocol and of several."""

import json
from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.figures import BoxGroup, draw_box_plots
from guidance.protocols.__main__ import found_folders, main
from guidance.protocols.page import protocol_page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "a"
    results = {
        "protocol": "GridPG", "n": 2, "chance": 0.25, "git_commit": None,
        "scores": [{"model": "<b>net", "mean": 0.123456}, {"model": "other", "mean": None}],
        "models": [{"name": "<b>net", "weights": "abc"}],
    }  # fmt: skip
    made.mkdir(parents=True)
    (made / "results.json").write_text(json.dumps(results))
    (made / "scores.csv").write_text("model,grid,score\n<i>net,07,0.5\n")
    draw_box_plots(made / "boxplots.png", [BoxGroup("net", "ixg", "input", [0.1, 0.2])], 0.25)
    draw_box_plots(made / "aggatt" / "net_input.png", [BoxGroup("net", "ixg", "input", [0.3])], 0.25)
    return made


def test_numbers_and_figures_are_on_it_and_names_are_escaped(folder: Path) -> None:
    html = protocol_page([folder]).html()
    for text in (
        "GridPG, 2 x 2",
        "0.1235",
        "scores.csv: 1 row",
        "aggatt/net_input.png",
        "chance 0.25",
        ">07<",
    ):
        assert text in html
    assert html.count("data:image/png;base64") == 2
    assert "&lt;b&gt;net" in html
    assert "&lt;i&gt;net" in html
    assert "<b>net" not in html
    assert "<i>net" not in html


def test_long_tables_are_named_only(folder: Path) -> None:
    (folder / "scores.csv").write_text("model,score\n" + "net,0.987\n" * 2001)
    html = protocol_page([folder]).html()
    assert "scores.csv has 2001 rows" in html
    assert "0.987" not in html


def test_several_on_one_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = folder.parent / "b"
    other.mkdir()
    (other / "results.json").write_text(json.dumps({"protocol": "Deletion", "scores": []}))
    assert found_folders([folder.parent]) == [folder, other]
    assert main([str(folder.parent), "--output", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text()
    assert html.index("GridPG") < html.index("Deletion")
    assert str(tmp_path / "page.html") in capsys.readouterr().out


def test_what_is_no_output_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"it has no results.json"):
        protocol_page([tmp_path])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="is not of a protocol"):
        protocol_page([tmp_path])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        protocol_page([tmp_path])
    with pytest.raises(SystemExit):
        main([str(tmp_path / "missing")])
    assert "no folder" in capsys.readouterr().err
