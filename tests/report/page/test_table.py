"""Tables: every name escaped, numbers with the key they are sorted by."""

import re

import pytest

from guidance.report.page import Cell
from guidance.report.page.table import draw_table, link_to


def test_names_are_escaped_everywhere() -> None:
    evil = "<script>\"&'"
    table = str(draw_table([evil], [[evil], [Cell(evil, link=evil)], [Cell(evil, shows=evil)]], evil))
    assert "<script" not in table
    assert table.count("&lt;script&gt;&#34;&amp;&#39;") == 6
    assert 'href="%3Cscript%3E%22&amp;%27"' in table


def test_numbers_carry_their_sort_key_and_stand_at_the_right() -> None:
    table = str(draw_table(["name", "EPG"], [["a", Cell("71.3 ± 1", 0.713)], ["b", 2], ["c", None]]))
    assert re.findall(r'data-sort="([^"]*)"', table) == ["0.713", "2.0", ""]
    assert table.count('<td class="number"') == 3
    assert table.count('<th scope="col" class="number"') == 1


def test_nan_and_none_are_empty_and_texts_stay_texts() -> None:
    table = str(draw_table(["x", "y"], [[float("nan"), "1.0"], [None, "2.0"]]))
    assert "nan" not in table
    assert "data-sort" not in table
    assert "<td>1.0</td>" in table


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x"]
)
def test_a_link_is_a_file_or_a_web_page(link: str) -> None:
    with pytest.raises(ValueError, match="links to files and web pages only"):
        link_to(link)


def test_a_link_keeps_its_meaning() -> None:
    assert link_to("../runs/a b/epoch=003.ckpt") == "../runs/a%20b/epoch=003.ckpt"
    assert link_to("https://example.org/a?b=c#d") == "https://example.org/a?b=c#d"


def test_rows_fit_the_columns() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        draw_table(["a", "b"], [["x"]])
