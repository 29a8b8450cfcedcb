"""A static page for results: one HTML file that needs nothing else and opens from disk.

    page = Page("Did it work?", "Twelve runs on VOC")
    section = page.section("Scores", "Mean over three seeds.")
    section.table(["run", "EPG"], [["a", Cell("71.3 %", sort=0.713)]])
    section.charts([Chart("F1 (%)", "EPG (%)", [Series("a", [Mark(80, 71, "run a")])])], "Hover for the run.")
    section.figure(Path("boxes.png"), "Scores of each method")
    page.write("report.html")

Every text that is given is escaped; only :class:`markupsafe.Markup` is not.
"""

from guidance.report.page.chart import Chart, Mark, Series, staircase
from guidance.report.page.page import Page, Panel, Section
from guidance.report.page.picture import Picture
from guidance.report.page.table import Cell, Value

__all__ = ["Cell", "Chart", "Mark", "Page", "Panel", "Picture", "Section", "Series", "Value", "staircase"]
