"""The page of a study: what it says, and that names are escaped everywhere."""

import re
from pathlib import Path

import yaml

from guidance.report.comparison import judge
from guidance.report.gallery import Gallery
from guidance.report.report import make_report, read_study
from guidance.report.study_page import study_page
from guidance.report.tables import summarize
from tests.report.page.test_page import _Reader
from tests.report.run_folders import write_run, write_study

EVIL = "<script>alert(1)</script>"


def page_of(folder: Path) -> str:
    study = read_study([folder])
    verdicts = [judge(one, 0.01) for one in study.configurations if not one.is_baseline]
    return study_page(study, verdicts, summarize(study), Gallery({}, {}, []), ["what failed"], folder).html()


def rows_below(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    table = page[page.index(f"<h2>{heading}</h2>") :].split("<tbody>")[1].split("</tbody>")[0]
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]


def test_the_answer_stands_first(tmp_path: Path) -> None:
    page = page_of(write_study(tmp_path))
    answer = page.split("<h2>Answer</h2>")[1].split("</section>")[0]
    assert '<div class="callout neutral"><h3>Energy (weights 0.1, 1; 2 seeds)</h3>' in answer
    assert "EPG +20.1 ± 0.1" in answer
    assert "6 runs in 2 configurations" in page
    assert page.index("<h2>Answer</h2>") < page.index("<h2>Fronts</h2>")


def test_tables_say_what_the_study_says(tmp_path: Path) -> None:
    page = page_of(write_study(tmp_path))
    front = rows_below(page, "Fronts")
    assert front == [
        ["unguided", "baseline/1", "1", "0", "1", *["81.0", "20.0", "10.0"] * 2],
        ["Energy", "energy/1-1", "1", "1", "0", *["80.5", "40.1", "20.0"] * 2],
        ["Energy", "energy/1-1", "1", "1", "1", *["61.0", "70.0", "30.0"] * 2],
    ]
    volumes = rows_below(page, "Hypervolume")
    assert volumes[0] == ["unguided", "2", "4", "1", "1.62", "", "1.61 ± 0.01"]
    assert volumes[1][:4] == ["Energy", "4", "12", "2"]
    assert volumes[1][5].startswith("+")
    final = rows_below(page, "Final weights")
    assert final[0] == ["unguided", "0", "2", *["80.5 ± 0.7", "20.0 ± 0.0", "10.0 ± 0.0"] * 2]
    assert [row[1] for row in rows_below(page, "Runs")] == ["0", "1"] * 3


def test_what_failed_is_said(tmp_path: Path) -> None:
    assert "<p>what failed</p>" in page_of(write_study(tmp_path)).split("<h2>What is missing</h2>")[1]


def test_measurements_have_charts_of_their_own(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    write_run(tmp_path / "b", [(0.9, 0.9, 0.1)], attributor__layer="final")
    page = page_of(tmp_path)
    assert "<h2>Fronts, measurement 1</h2>" in page
    assert "<h2>Fronts, measurement 2</h2>" in page


def test_names_of_strangers_are_escaped(tmp_path: Path) -> None:
    write_study(tmp_path / EVIL)
    folder = write_run(
        tmp_path / EVIL / "odd",
        [(0.8, 0.5, 0.2)],
        seed=9,
        loss=f"x.{EVIL}Loss",
        weight=1.0,
        optimizer__name=EVIL,
    )
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"loss={EVIL}"]))
    broken = write_run(tmp_path / EVIL / f"broken{EVIL.replace('/', '')}", [(0.8, 0.5, 0.2)])
    (broken / "results.json").unlink()
    make_report([tmp_path], tmp_path / "out", gallery_images=1)
    text = (tmp_path / "out" / "report.html").read_text()
    elements = _Reader(text).elements
    assert sum(tag == "script" for tag, _ in elements) == 1
    assert EVIL not in text
    assert "&lt;script&gt;" in text


def test_commands_and_pictures_of_runs_are_there(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a run", [(0.8, 0.5, 0.2)])
    (folder / "gallery").mkdir()
    (folder / "gallery" / "before_after.png").write_bytes(b"")
    make_report([tmp_path], tmp_path / "out", gallery_images=0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'href="../a%20run/gallery/before_after.png"' in page
    assert "python train.py loss=energy &#39;data.length={train: 4}&#39;" in page
    assert "All runs are unguided baselines" in page
