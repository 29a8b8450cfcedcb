import pytest

from guidance.errors import InputError
from guidance.sweep.lines import expand_lines


def test_every_line_is_all_combinations_of_its_values() -> None:
    assert expand_lines(["loss=none", "loss=energy loss.weight=0.1,1 seed=range(0,2)"], []) == [
        ["loss=none"],
        ["loss=energy", "loss.weight=0.1", "seed=0"],
        ["loss=energy", "loss.weight=0.1", "seed=1"],
        ["loss=energy", "loss.weight=1", "seed=0"],
        ["loss=energy", "loss.weight=1", "seed=1"],
    ]


def test_the_command_line_goes_with_every_line_and_replaces_its_values() -> None:
    assert expand_lines(["a=1,2", "b=3"], ["a=5", "c='x y'"]) == [
        ["a=5", "c='x y'"],
        ["b=3", "a=5", "c='x y'"],
    ]
    assert expand_lines([], ["a=1,2"]) == [["a=1"], ["a=2"]]
    assert expand_lines([], []) == [[]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a=[1", "cannot read"),
        ("a=interval(0,1)", "guidance.search"),
        ("a=range(0,999) b=range(0,999)", "more than 10,000 jobs"),
    ],
)
def test_wrong_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand_lines([line], [])
