"""Names that a stranger chose, of classes, files, runs and models, in pages, pictures and terminals."""

import io
import json
import logging
from html.parser import HTMLParser
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import torch
from PIL import Image
from rich.console import Console

from guidance.command_line import one_line_errors
from guidance.data import Folder
from guidance.data.coco_annotation import read_coco
from guidance.data.voc_annotation import read_voc_annotation
from guidance.errors import InputError
from guidance.explain.evidence import Evidence
from guidance.explain.report import print_table, write_table
from guidance.figures import BoxGroup, draw_box_plots, draw_front
from guidance.figures.bars import Bar, draw_bars
from guidance.figures.curves import CurveLine, CurvePanel, draw_curves
from guidance.printable import is_name, one_line, print_logs_safely, printable
from guidance.protocols.page import protocol_page
from guidance.report.page import Cell, Chart, Mark, Page, Picture, Series
from guidance.report.report import make_report
from guidance.results import print_table as print_results
from tests.report.run_folders import write_run

SCRIPTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "</style><script>alert(1)</script>",
    "]]><iframe src=javascript:alert(1)>",
    "javascript:alert(1)",
]
SCRIPT = "".join(SCRIPTS)
STEERING = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202etxt.exe"
PNG = b"\x89PNG\r\n\x1a\n"


class Tags(HTMLParser):
    """Notes what a browser would take for scripts, for handlers, and for addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.suspicious: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            leads_to_script = (value or "").strip().lower().startswith("javascript:")
            if name.startswith("on") or (leads_to_script and name in ("href", "src", "action")):
                self.suspicious.append(f"{tag} {name}={value}")
        if tag in ("iframe", "object", "embed", "base", "form"):
            self.suspicious.append(tag)


def assert_harmless(page: str) -> None:
    tags = Tags(page)
    assert tags.scripts == 1  # the page's own
    assert not tags.suspicious
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_every_kind_of_block_of_a_page() -> None:
    page = Page(SCRIPT, SCRIPT)
    section = page.section(SCRIPT, SCRIPT)
    section.callout(SCRIPT, SCRIPT)
    section.code(SCRIPT)
    section.table([SCRIPT], [[SCRIPT], [Cell(SCRIPT, shows=SCRIPT)]], SCRIPT)
    section.figure(PNG, SCRIPT)
    panel = section.panel(SCRIPT)
    panel.pictures([[Picture(PNG, (4, 4), SCRIPT)]], [SCRIPT])
    series = Series(SCRIPT, [Mark(0.1, 0.2, tip=SCRIPT, shows=SCRIPT)])
    section.charts([Chart(SCRIPT, SCRIPT, [series], SCRIPT)], SCRIPT)
    assert_harmless(page.html())


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "vbscript:x"]
)
def test_a_link_to_a_script_is_refused(link: str) -> None:
    section = Page("a").section("b")
    with pytest.raises(ValueError, match="links to files and web pages only"):
        section.table(["a"], [[Cell("x", link=link)]])


@pytest.mark.parametrize(
    "name", [*(one.replace("/", ":") for one in SCRIPTS), "a\nrm -rf ~", STEERING, "$x^$"]
)
def test_a_study_s_page(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / name, [(0.8, 0.5, 0.2)])
    write_run(tmp_path / "other", [(0.7, 0.6, 0.2)])
    (folder / "gallery").mkdir()
    (folder / "gallery" / "before_after.png").write_bytes(PNG)
    (folder / ".hydra").mkdir(exist_ok=True)
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([f"data.root={SCRIPT}", f"x=1\nrm {name}"]))
    results = json.loads((folder / "results.json").read_text()) | {"git_commit": SCRIPT}
    (folder / "results.json").write_text(json.dumps(results))
    make_report([tmp_path], tmp_path / "out", gallery_images=0)
    page = (tmp_path / "out" / "report.html").read_text()
    assert_harmless(page)
    assert "\nrm " not in page
    assert "\x1b" not in page


def test_a_protocol_s_page(tmp_path: Path) -> None:
    content = {
        "protocol": SCRIPT,
        "n": 2,
        "models": [{"name": SCRIPT, "weights": SCRIPT}],
        "scores": [{SCRIPT: SCRIPT, "b": {"c": SCRIPT}}],
        "more": [{SCRIPT: 0.5}],
        "git_commit": SCRIPT,
    }
    (tmp_path / "results.json").write_text(json.dumps(content))
    (tmp_path / f"{SCRIPTS[1]}.csv").write_text(f"{SCRIPTS[1]}\n{SCRIPTS[1]}\n")
    Image.new("RGB", (2, 2)).save(tmp_path / f"{SCRIPTS[1]}.png")
    (tmp_path / "no.png").write_bytes(b"\x7fELF")
    page = protocol_page([tmp_path]).html()
    assert_harmless(page)
    assert "no.png is not shown" in page


# Terminals


def test_what_steers_a_terminal_is_written_as_an_escape() -> None:
    shown = printable(STEERING)
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07" in shown
    assert printable("a\tb\nc") == "a\tb\nc"
    assert one_line("a\tb\nc\x00") == "a\\tb\\nc\\x00"
    for name in ("Größe", "猫", "می‌خواهم", "👩‍🔬", "a b"):  # names of people's own, with joiners
        assert printable(name) == name
        assert is_name(name)
    for name in (STEERING, "a\nb", "a\tb", "", " ", "a\x9b", "a\u2028"):
        assert not is_name(name)


def test_an_error_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), one_line_errors():
        raise InputError(f"no file {STEERING}")
    shown = capsys.readouterr().err
    assert shown.rstrip("\n").isprintable()


def test_a_log_does_not_steer_the_terminal() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        print_logs_safely()
        logging.getLogger("guidance.test").warning("left out: %s", STEERING)
    finally:
        root.removeHandler(handler)
    assert stream.getvalue().rstrip("\n").isprintable()


def test_names_in_a_table_are_no_markup(tmp_path: Path) -> None:
    name = "[bold red]x[/][link=file:///etc/passwd]y[/link]"
    evidence = Evidence(name, name, "input", name, 0.5, 0.1, 1.0, 0.5, 0.5, None, None)
    stream = io.StringIO()
    print_table(Console(file=stream, width=400, force_terminal=True), [evidence])
    assert name in stream.getvalue()
    assert "\x1b]8" not in stream.getvalue()  # a link of the terminal's
    write_table(tmp_path / "x.csv", [evidence])
    print_results({"val/f1_micro": 0.5, "val/f1_micro@[bold]x": 0.5}, console=Console(file=stream))


def test_classes_of_a_data_set_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": STEERING}]})
    )
    with pytest.raises(InputError, match="must be a text that can be printed"):
        read_coco(tmp_path / "a.json")
    steering = "\u202etxt\x9b31m"  # others are no XML
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    (tmp_path / "a.xml").write_text(
        f"<a><size><height>9</height><width>9</width></size><object><name>{escape(steering)}</name>{box}</object></a>"
    )
    with pytest.raises(InputError, match="control characters"):
        read_voc_annotation(tmp_path / "a.xml")


def test_files_whose_names_steer_are_left_out(tmp_path: Path) -> None:
    rows = "image,class,xmin,ymin,xmax,ymax\n"
    for number, name in enumerate([*(f"{n}.png" for n in range(3)), f"{STEERING}.png", "a\nb.png"]):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name)
        rows += f'"{name}",cat,0,0,4,4\n' if number < 3 else ""
    rows += f"0.png,{STEERING.replace(chr(13), '')},0,0,4,4\n"
    (tmp_path / "annotations.csv").write_text(rows)
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        (tmp_path / f"{split}.txt").write_text(f"{number}.png\n")
    data = Folder(tmp_path, "train")
    assert data.classes == ("cat",)
    reasons = [item.reason for item in data.skipped]
    assert reasons.count("its name has control characters; rename it") == 2
    assert "the name of its class has control characters" in reasons
    assert all(printable(item.where) == item.where for item in data.skipped)


# Pictures


@pytest.mark.parametrize("name", ["$x^$", r"$\frac{", "$\\evil$ $", SCRIPT])
def test_names_in_pictures_are_no_formulas(tmp_path: Path, name: str) -> None:
    points = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    on_front = torch.tensor([True])
    draw_front(tmp_path / "front.png", points, on_front, [name] * 3, labels=[name], title=name)
    draw_box_plots(tmp_path / "boxes.png", [BoxGroup(name, name, name, [0.1, 0.2])], 0.25, name)
    draw_bars(tmp_path / "bars.png", [Bar(name, name, name, name, 0.5, 0.1, 0.2)], name)
    panel = CurvePanel(name, name, [CurveLine(name, [0.1, 0.2], [0.0, 0.0])])
    draw_curves(tmp_path / "curves.png", [panel], [0.0, 1.0], name, name, name)
    assert len(list(tmp_path.glob("*.png"))) == 4
