"""What the page does in a browser: tooltips, panels, legends, sorted tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guidance.report.page import Cell, Chart, Mark, Page, Picture, Series, Value
from tests.report.browser import CHROMIUM, Browser, browser
from tests.report.page.test_picture import png

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    page = Page("<script>document.title = 'broken'</script>")
    section = page.section("Charts")
    marks = [Mark(1, 2, "run <b>a</b>\nepoch 1", "a"), Mark(3, 4, "run b", "b")]
    charts = [Chart("x", "y", [Series("first", marks), Series("second", [Mark(2, 2)])]) for _ in range(2)]
    section.charts(charts)
    for name in "ab":
        section.panel(name).pictures([[Picture(png((40, 40)), (40, 40), f"map {name}")]], ["Maps"])
    rows: list[list[Value]] = [["x", Cell("9 ± 1", 9.0)], ["z", 10], ["y", None], ["w", Cell("b", shows="b")]]
    page.section("Table").table(["name", "EPG"], rows)
    page.write(folder / "page.html")
    with browser(folder / "profile") as page_in_browser:
        page_in_browser.open(folder / "page.html")
        yield page_in_browser


MARKS = "document.querySelectorAll('.mark[data-shows]')"
TIP = "document.getElementById('tip')"


def test_nothing_is_loaded_run_or_complained_about(opened: Browser) -> None:
    assert opened.run("document.title").startswith("<script>")
    assert opened.run("performance.getEntriesByType('resource').length") == 0
    assert opened.complaints == []


def test_hover_tells_what_a_mark_is(opened: Browser) -> None:
    opened.hover(f"{MARKS}[0]")
    assert opened.run(f"[{TIP}.hidden, {TIP}.textContent]") == [False, "run <b>a</b>\nepoch 1"]
    opened.hover("document.querySelector('h1')")
    assert opened.run(f"{TIP}.hidden") is True


def test_click_shows_a_panel_and_marks_the_point_in_every_chart(opened: Browser) -> None:
    shown = "[...document.querySelectorAll('.panel')].map((panel) => panel.hidden)"
    chosen = f"[...{MARKS}].map((mark) => mark.classList.contains('chosen'))"
    opened.click(f"{MARKS}[1]")
    assert opened.run(shown) == [True, False]
    assert opened.run(chosen) == [False, True, False, True]
    opened.click(f"{MARKS}[2]")
    assert opened.run(shown) == [False, True]
    assert opened.run(chosen) == [True, False, True, False]
    opened.click("document.querySelector('button.show')")
    assert opened.run(shown) == [True, False]


def test_a_picture_of_the_store_is_drawn(opened: Browser) -> None:
    opened.click(f"{MARKS}[0]")
    width = "document.querySelector('.panel:not([hidden]) use').getBoundingClientRect().width"
    assert opened.run(width) > 20


def test_a_legend_s_key_hides_its_series(opened: Browser) -> None:
    hidden = "[...document.querySelectorAll('.series')].map((series) => series.hasAttribute('hidden'))"
    opened.click("document.querySelectorAll('.key')[1]")
    assert opened.run(hidden) == [False, True, False, True]
    opened.click("document.querySelectorAll('.key')[1]")
    assert opened.run(hidden) == [False] * 4


def test_columns_sort(opened: Browser) -> None:
    names = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent).join('')"
    head = "document.querySelectorAll('th button')"
    opened.click(f"{head}[1]")
    assert opened.run(names) == "zxyw", "numbers downwards first, what has none last"
    opened.click(f"{head}[1]")
    assert opened.run(names) == "xzyw"
    opened.click(f"{head}[0]")
    assert opened.run(names) == "wxyz"
    opened.click(f"{head}[0]")
    assert opened.run(names) == "zyxw"


def test_it_is_dark_where_the_reader_wants_it(opened: Browser, tmp_path: Path) -> None:
    Page("x").write(tmp_path / "x.html")
    colours = []
    for dark in (False, True):
        opened.open(tmp_path / "x.html", dark=dark)
        colours.append(opened.run("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
