"""Charts: every finite point where it belongs, with what it says and shows."""

import math
import xml.etree.ElementTree as ET

from defusedxml.ElementTree import fromstring

from guidance.report.page import Chart, Mark, Series, staircase
from guidance.report.page.chart import COLOURS, draw_chart, draw_legend, number_series


def drawn(chart: Chart) -> ET.Element:
    svg: ET.Element = fromstring(str(draw_chart(chart, number_series([chart]))))
    return svg


def places(svg: ET.Element) -> list[tuple[float, float]]:
    found = []
    for mark in svg.iterfind(".//g[@class='mark']"):
        x, y = mark.attrib["transform"].removeprefix("translate(").removesuffix(")").split()
        found.append((float(x), float(y)))
    return found


def test_larger_values_lie_further_right_and_higher() -> None:
    marks = [Mark(0, 5), Mark(1, 7), Mark(2, 6)]
    svg = drawn(Chart("x", "y", [Series("a", marks)]))
    (x0, y0), (x1, y1), (x2, y2) = places(svg)
    assert x0 < x1 < x2
    assert abs((x1 - x0) - (x2 - x1)) <= 0.1
    assert y1 < y2 < y0
    for x, y in places(svg):
        assert 52 <= x <= 446
        assert 26 <= y <= 286


def test_a_mark_tells_and_shows() -> None:
    svg = drawn(Chart("x", "y", [Series("a", [Mark(1, 2, 'run "a" <b>\nepoch 3', "map-1"), Mark(3, 4)])]))
    first, second = svg.findall(".//g[@class='mark']")
    assert first.attrib["data-tip"] == 'run "a" <b> epoch 3', (
        "XML, unlike HTML, reads a line break as a space"
    )
    assert first.attrib["data-shows"] == "map-1"
    assert not {"data-tip", "data-shows"} & set(second.attrib)


def test_names_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    chart = Chart(evil, evil, [Series(evil, [Mark(1, 1, evil, evil)], [(0, 0), (1, 1)])], evil)
    text = str(draw_chart(chart, number_series([chart])) + draw_legend([chart], number_series([chart])))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 8


def test_what_is_not_finite_is_left_out() -> None:
    series = Series(
        "a", [Mark(math.nan, 1), Mark(1, math.inf), Mark(1, 1)], [(0, 0), (1, 1), (2, math.nan), (3, 3)]
    )
    svg = drawn(Chart("x", "y", [series]))
    assert len(places(svg)) == 1
    line = svg.find(".//path[@class='line']")
    assert line is not None
    assert line.attrib["d"].count("M") == 2, "a gap where the value is not finite"
    assert "nan" not in line.attrib["d"]


def test_an_empty_chart_says_so() -> None:
    assert "nothing to draw" in str(draw_chart(Chart("x", "y"), {}))


def test_every_shape_is_drawn() -> None:
    for shape, tag in (("circle", "circle"), ("square", "polygon"), ("star", "polygon")):
        svg = drawn(Chart("x", "y", [Series("a", [Mark(1, 1)], shape=shape)]))  # type: ignore[arg-type]
        assert svg.find(f".//{tag}[@class='dot']") is not None


def test_charts_that_share_a_legend_share_its_numbers() -> None:
    charts = [
        Chart("x", "y", [Series("a", [Mark(1, 1)]), Series("b", path=[(0, 0), (1, 1)], colour=COLOURS + 1)]),
        Chart("x", "y", [Series("b", path=[(0, 0)]), Series("c", [Mark(1, 1)], faint=True)]),
    ]
    numbers = number_series(charts)
    assert numbers == {"a": 0, "b": 1, "c": 2}
    legend = str(draw_legend(charts, numbers))
    assert [legend.index(f">{name}</button>") for name in "abc"] == sorted(
        legend.index(f">{name}</button>") for name in "abc"
    )
    assert 'class="c1"' in legend, "colours repeat"


def test_staircase() -> None:
    assert staircase([(2, 1), (1, 3), (1, 3)]) == [(1, 3), (1, 1), (2, 1)]
    assert staircase([]) == []
