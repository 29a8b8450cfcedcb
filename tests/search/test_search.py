"""A search stops, goes on, and counts; the trainings are stand-ins but for one, marked slow."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from guidance.errors import InputError
from guidance.search import Search, parse_space
from tests.commands import run_command
from tests.tiny import OVERRIDES

SPACE = parse_space(["fixed=1", "x=interval(0.0,1.0)", "kind=a,b"])
OBJECTIVES = ("val/f1_micro", "val/epg")


class Runs:
    """Trade one objective for the other; die or fail at given runs, counted from 1."""

    def __init__(self, dies_at: int = 0, fails_at: Sequence[int] = ()) -> None:
        self.dies_at, self.fails_at, self.folders = dies_at, fails_at, list[Path]()

    def __call__(self, overrides: Sequence[str], folder: Path) -> str | None:
        self.folders.append(folder)
        folder.mkdir(exist_ok=True)
        if len(self.folders) == self.dies_at:
            raise KeyboardInterrupt
        if len(self.folders) in self.fails_at:
            return "the training loss is not finite"
        x = float(next(o for o in overrides if o.startswith("x="))[2:])
        (folder / "results.json").write_text(
            json.dumps({"val/f1_micro": x, "val/epg": 1 - x, "val/iou": None})
        )
        return None


def listed(folder: Path) -> list[dict[str, object]]:
    content: list[dict[str, object]] = json.loads((folder / "search.json").read_text())["trials"]
    return content


def test_a_stopped_search_goes_on_to_the_total(tmp_path: Path) -> None:
    first = Runs(dies_at=3)
    with pytest.raises(KeyboardInterrupt):
        Search(tmp_path, SPACE, OBJECTIVES, first).optimize(5)
    assert len(first.folders) == 3
    second = Runs()
    Search(tmp_path, SPACE, OBJECTIVES, second).optimize(5)
    assert second.folders[0] == first.folders[2], "the stopped trial is continued in its folder"
    assert len(second.folders) == 3
    assert [trial["state"] for trial in listed(tmp_path)] == ["complete"] * 5
    assert all(trial["front"] for trial in listed(tmp_path)), "x against 1 - x: nothing beats anything"
    third = Runs()
    Search(tmp_path, SPACE, OBJECTIVES, third).optimize(5)
    assert not third.folders
    Search(tmp_path, SPACE, OBJECTIVES, third).optimize(6)
    assert len(third.folders) == 1


def test_a_failed_trial_counts_once_one_has_succeeded(tmp_path: Path) -> None:
    runs = Runs(fails_at=[2])
    Search(tmp_path, SPACE, OBJECTIVES, runs).optimize(4)
    assert len(runs.folders) == 4
    failed = listed(tmp_path)[1]
    assert (failed["state"], failed["reason"]) == ("fail", "the training loss is not finite")


def test_a_search_that_only_fails_stops_and_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none has succeeded: the training loss"):
        Search(tmp_path, SPACE, OBJECTIVES, Runs(fails_at=[1, 2, 3])).optimize(3)
    runs = Runs()
    Search(tmp_path, SPACE, OBJECTIVES, runs).optimize(2)
    assert len(runs.folders) == 2


def test_same_settings_are_one_run(tmp_path: Path) -> None:
    runs = Runs()
    Search(tmp_path, parse_space(["x=0.1,0.9"]), OBJECTIVES, runs).optimize(6)
    assert len(runs.folders) == len(set(runs.folders)) == 2


def test_several_at_once(tmp_path: Path) -> None:
    runs = Runs()
    Search(tmp_path, SPACE, OBJECTIVES, runs).optimize(6, jobs=3)
    assert len(set(runs.folders)) == 6


@pytest.mark.parametrize(
    ("objectives", "message"),
    [(("val/f1",), "Did you mean 'val/f1_micro'"), (("val/iou",), "not a number")],
)
def test_wrong_objective_is_named(tmp_path: Path, objectives: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Search(tmp_path, SPACE, objectives, Runs()).optimize(1)


def test_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    Search(tmp_path, SPACE, OBJECTIVES, Runs()).optimize(1)
    with pytest.raises(InputError, match="holds a search with"):
        Search(tmp_path, parse_space(["y=1,2"]), OBJECTIVES, Runs())


@pytest.mark.slow
def test_a_real_search(tmp_path: Path) -> None:
    options = [o for o in OVERRIDES if "max_epochs" not in o and "num_images" not in o]
    search = [
        "trials=2",
        *options,
        "debug=fast",
        "callbacks.gallery.num_images=0",
        "loss.weight=interval(0.5,2.0)",
    ]
    run_command("guidance.search", *search, "dir=found", cwd=tmp_path)
    assert len(list((tmp_path / "found").glob("*-*/results.json"))) == 2
    assert (tmp_path / "found" / "front.png").is_file()
