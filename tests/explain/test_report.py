import csv
import io
from pathlib import Path

from rich.console import Console

from guidance.explain.evidence import Evidence
from guidance.explain.report import COLUMNS, print_table, write_table


def entry(
    image: str = "a.png", model: str = "before", inside: float | None = 1.5, name: str = "dog"
) -> Evidence:
    return Evidence(image, model, "input", name, 0.25, -1.1, 6.0, inside, 5.0, -1.6, None)


def printed(*evidence: Evidence) -> str:
    text = io.StringIO()
    print_table(Console(file=text, width=100), evidence)
    return text.getvalue()


def test_file_has_every_number(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", [entry(), entry(name="[b]", inside=None)])
    with (tmp_path / "a.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert list(first.values()) == (
        ["a.png", "before", "input", "dog", "0.25", "-1.1", "6", "1.5", "4.5", "0.25", "5", "-1.6", ""]
    )
    assert (second["class"], second["inside"], second["outside"], second["share_inside"]) == (
        "[b]",
        "",
        "",
        "",
    )


def test_table_groups_what_is_compared_and_leaves_out_empty_columns() -> None:
    lines = printed(
        entry(), entry(name="[b]"), entry(model="after"), entry(name="[b]", model="after")
    ).splitlines()
    rows = [line.split() for line in lines if "25.0%" in line]
    assert [row[:-5] for row in rows] == [["a.png", "dog", "before"], ["after"], ["[b]", "before"], ["after"]]
    assert rows[0][-5:] == ["0.250", "6", "1.5", "4.5", "25.0%"]
    alone = printed(entry(inside=None))
    assert "inside" not in alone
    assert "before" not in alone
    assert "no box" in printed(entry(), entry(name="cat", inside=None))


def test_a_long_table_is_cut() -> None:
    text = printed(*(entry(image=f"{i}.png") for i in range(70)))
    assert "59.png" in text
    assert "60.png" not in text
    assert "and 10 more lines" in text
