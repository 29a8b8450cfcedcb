"""The page, its sections, and what stands in them."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from guidance.files import write_atomically
from guidance.report.page.chart import Chart, draw_chart, draw_legend, number_series
from guidance.report.page.picture import Picture, data_uri, draw_picture, draw_store
from guidance.report.page.table import Value, draw_table

Tone = Literal["good", "bad", "neutral"]

# Even if a name slipped through unescaped, it could load nothing and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'"
_TEMPLATE = Markup("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1>{subtitle}<nav>
{links}
</nav></header>
<main>
{sections}
</main>
{pictures}
<div id="tip" role="tooltip" hidden></div>
<script>{script}</script>
</body>
</html>
""")


class _Content:
    """What sections and panels have in common: blocks, one below the other."""

    def __init__(self) -> None:
        self._blocks: list[Markup | Panel] = []
        self._pictures: list[Picture] = []

    def add(self, block: Markup) -> None:
        """Add HTML that is right as it is."""
        self._blocks.append(block)

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self.add(Markup("<p>{}</p>").format(text))

    def callout(self, title: str, text: str, tone: Tone = "neutral") -> None:
        """Add a framed statement, what a reader is to see first; each line of the text is a paragraph."""
        lines = Markup("").join(Markup("<p>{}</p>").format(line) for line in text.splitlines())
        self.add(Markup('<div class="callout {}"><h3>{}</h3>{}</div>').format(tone, title, lines))

    def code(self, text: str) -> None:
        """Add commands or files; one click selects all of it."""
        self.add(Markup("<pre><code>{}</code></pre>").format(text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Value]], caption: str = "") -> None:
        """Add a sortable table.

        Args:
            columns: Their names.
            rows: Texts, numbers, None or :class:`Cell`.
            caption: Stands above.
        """
        self.add(draw_table(columns, rows, caption))

    def figure(self, picture: bytes | str | Path, caption: str = "") -> None:
        """Add a picture.

        Args:
            picture: A PNG, JPEG or GIF file, or its content.
            caption: Stands below.
        """
        self.add(
            Markup('<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>').format(
                data_uri(picture), caption, caption
            )
        )

    def pictures(self, rows: Sequence[Sequence[Picture]], headings: Sequence[str] = ()) -> None:
        """Add a grid of small pictures.

        Args:
            rows: Each of as many pictures as there are columns, at most 6.
            headings: One for each row, above it; or none.
        """
        columns = max((len(row) for row in rows), default=0)
        cells = []
        for number, row in enumerate(rows):
            if headings:
                cells.append(Markup('<div class="heading">{}</div>').format(headings[number]))
            cells += [draw_picture(picture) for picture in row]
            self._pictures += row
        self.add(Markup('<div class="pictures columns-{}">{}</div>').format(columns, Markup("").join(cells)))

    def charts(self, charts: Sequence[Chart], caption: str = "") -> None:
        """Add charts beside each other, with one legend.

        Args:
            charts: At least one.
            caption: Stands below.
        """
        numbers = number_series(charts)
        self.add(
            Markup(
                '<figure class="charts"><div class="legend">{}</div><div class="row">{}</div>'
                "<figcaption>{}</figcaption></figure>"
            ).format(
                draw_legend(charts, numbers),
                Markup("").join(draw_chart(chart, numbers) for chart in charts),
                caption,
            )
        )

    def all_pictures(self) -> list[Picture]:
        """Return the small pictures, those in panels too."""
        inside = [block.all_pictures() for block in self._blocks if isinstance(block, Panel)]
        return sum(inside, self._pictures)

    def _html(self) -> Markup:
        return Markup("\n").join(
            block if isinstance(block, Markup) else block.framed() for block in self._blocks
        )


class Panel(_Content):
    """A part of a section that is shown when a mark or a cell that names it is clicked.

    Args:
        name: What marks and cells refer to.
        hidden: Whether it is hidden at first.
    """

    def __init__(self, name: str, hidden: bool) -> None:
        super().__init__()
        self.name = name
        self.hidden = hidden

    def framed(self) -> Markup:
        """Return the panel with what is in it."""
        return Markup('<div class="panel" data-panel="{}"{}>\n{}\n</div>').format(
            self.name, Markup(" hidden") if self.hidden else "", self._html()
        )


class Section(_Content):
    """A part of a page under a heading.

    Args:
        title: The heading.
        number: Of the section in its page, from 1.
    """

    def __init__(self, title: str, number: int) -> None:
        super().__init__()
        self.title = title
        self.anchor = f"section-{number}"

    def panel(self, name: str) -> Panel:
        """Add a panel and return it, to be filled.

        One panel of a section is shown at a time, at first the first.

        Args:
            name: What marks and cells that show it refer to, unique within the page.
        """
        panel = Panel(name, hidden=any(isinstance(block, Panel) for block in self._blocks))
        self._blocks.append(panel)
        return panel

    def framed(self) -> Markup:
        """Return the section with what is in it."""
        return Markup('<section id="{}">\n<h2>{}</h2>\n{}\n</section>').format(
            self.anchor, self.title, self._html()
        )


class Page:
    """A page of sections, with links to each at its top.

    Args:
        title: The heading.
        subtitle: A line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._sections: list[Section] = []

    def section(self, title: str, text: str = "") -> Section:
        """Add a section and return it, to be filled.

        Args:
            title: The heading.
            text: A first paragraph.
        """
        section = Section(title, len(self._sections) + 1)
        if text:
            section.text(text)
        self._sections.append(section)
        return section

    def html(self) -> str:
        """Return the page; halves of characters, which JSON can express and UTF-8 cannot, become ``?``."""
        resources = files("guidance.report.page")
        style = resources.joinpath("style.css").read_text(encoding="utf-8")
        script = resources.joinpath("script.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        page = _TEMPLATE.format(
            policy=_POLICY.format(digest),
            title=self.title,
            subtitle=Markup('<p class="subtitle">{}</p>').format(self.subtitle) if self.subtitle else "",
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            links=Markup("\n").join(
                Markup('<a href="#{}">{}</a>').format(section.anchor, section.title)
                for section in self._sections
            ),
            sections=Markup("\n").join(section.framed() for section in self._sections),
            pictures=draw_store(picture for section in self._sections for picture in section.all_pictures()),
        )
        return page.encode("utf-8", "replace").decode()

    def write(self, path: str | Path) -> None:
        """Write the page, atomically."""
        write_atomically(path, self.html())
