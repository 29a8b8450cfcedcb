"""What a killed process leaves is continued."""

from pathlib import Path

import pytest

from guidance.protocols.score_file import Chunk, ScoreFile


def chunk(*grids: int) -> Chunk:
    scores = {
        layer: [[grid + offset, 0.1] for grid in grids] for layer, offset in (("input", 0), ("final", 0.5))
    }
    return Chunk(list(grids), scores, 0.25, 8)


def test_chunks_are_read_back_in_any_order(tmp_path: Path) -> None:
    file = ScoreFile(tmp_path / "new" / "a.jsonl", 5)
    file.append(chunk(2, 3))
    file.append(chunk(0))
    again = ScoreFile(file.path, 5)
    assert again.chunks == file.chunks == [chunk(2, 3), chunk(0)]
    assert again.done == {0, 2, 3}
    assert list(again.scores()) == [
        ("input", 0, [0, 0.1]), ("input", 2, [2, 0.1]), ("input", 3, [3, 0.1]),
        ("final", 0, [0.5, 0.1]), ("final", 2, [2.5, 0.1]), ("final", 3, [3.5, 0.1]),
    ]  # fmt: skip


@pytest.mark.parametrize("kept", [1, 30, 90])
def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path, kept: int) -> None:
    file = ScoreFile(tmp_path / "a.jsonl", 5)
    file.append(chunk(0, 1))
    whole = file.path.read_text()
    file.append(chunk(2))
    file.path.write_text(file.path.read_text()[: len(whole) + kept])
    again = ScoreFile(file.path, 5)
    assert again.chunks == [chunk(0, 1)]
    assert file.path.read_text() == whole
    again.append(chunk(2))  # begins on a line of its own
    assert ScoreFile(file.path, 5).done == {0, 1, 2}


def test_a_grid_counts_once_and_unknown_grids_do_not(tmp_path: Path) -> None:
    file = ScoreFile(tmp_path / "a.jsonl", 5)
    for one in (chunk(0, 1), chunk(1, 2), chunk(7)):
        file.append(one)
    assert ScoreFile(file.path, 5).chunks == [chunk(0, 1)]


def test_scores_keep_all_their_digits(tmp_path: Path) -> None:
    file = ScoreFile(tmp_path / "a.jsonl", 1)
    file.append(Chunk([0], {"input": [[1 / 3, 2e-17]]}, 0.1, 1))
    assert list(ScoreFile(file.path, 1).scores()) == [("input", 0, [1 / 3, 2e-17])]
