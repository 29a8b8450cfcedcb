"""The page: self-contained, escaped, well-formed."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from guidance.report.page import Cell, Chart, Mark, Page, Picture, Series
from tests.report.page.test_picture import png

EVIL = "</title><script>alert(1)</script>"
_VOID = {"meta", "img", "input", "br"}


class _Reader(HTMLParser):
    """Checks that tags close in order, and collects elements and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full_page(name: str = EVIL) -> Page:
    page = Page(name, name)
    section = page.section(name, name)
    section.text(name)
    section.callout(name, name, "good")
    section.code(name)
    section.table([name, "n"], [[name, 1], [Cell(name, 2.0, link="a b"), Cell(name, shows=name)]], name)
    section.figure(png(), name)
    section.charts([Chart(name, name, [Series(name, [Mark(1, 1, name, name)])], name)], name)
    for panel in (section.panel(name), section.panel("other")):
        panel.pictures([[Picture(png(), (4, 3), name)]], [name])
    return page


def test_it_is_well_formed_and_every_name_is_escaped() -> None:
    text = full_page().html()
    elements = _Reader(text).elements
    assert sum(tag == "script" for tag, _ in elements) == 1
    assert "alert(1)</script>" not in text
    assert not any(key.startswith("on") for _, attributes in elements for key in attributes)


def test_it_needs_nothing_else() -> None:
    for tag, attributes in _Reader(full_page().html()).elements:
        for key in ("src", "href"):
            value = attributes.get(key) or ""
            inside = value.startswith(("#", "data:image/")) or not value
            assert tag == "a" or inside, (tag, value)
        assert tag != "link"
    assert "url(" not in full_page().html()


def test_only_its_own_script_may_run() -> None:
    text = full_page().html()
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policies = [a["content"] for t, a in _Reader(text).elements if t == "meta" and "http-equiv" in a]
    assert policies == [
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    ]


def test_the_first_panel_of_each_section_is_shown() -> None:
    page = Page("x")
    for number in range(2):
        section = page.section(f"s{number}")
        for name in "ab":
            section.panel(f"{name}{number}").text(name)
    panels = [a for _, a in _Reader(page.html()).elements if "data-panel" in a]
    assert [(a["data-panel"], "hidden" in a) for a in panels] == [
        ("a0", False),
        ("b0", True),
        ("a1", False),
        ("b1", True),
    ]


def test_links_at_the_top_lead_to_the_sections() -> None:
    page = Page("x")
    page.section("a")
    page.section("b")
    elements = _Reader(page.html()).elements
    assert [a["href"] for t, a in elements if t == "a"] == ["#section-1", "#section-2"]
    assert [a["id"] for t, a in elements if t == "section"] == ["section-1", "section-2"]


def test_it_is_written_as_a_whole(tmp_path: Path) -> None:
    full_page("ä").write(tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == full_page("ä").html()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_half_a_character_does_not_keep_a_page_from_being_written(tmp_path: Path) -> None:
    page = Page("title")
    page.section("one \ud800").text("after \udfff")
    page.write(tmp_path / "page.html")
    assert "one ?" in (tmp_path / "page.html").read_text(encoding="utf-8")
