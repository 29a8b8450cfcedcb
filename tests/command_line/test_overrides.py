import pytest

from guidance.command_line.overrides import MOST_VALUES, parse_overrides, sweep_values
from guidance.errors import InputError


def values(argument: str) -> list[str]:
    (override,) = parse_overrides([argument])
    return sweep_values(override)


def test_values_of_a_sweep() -> None:
    assert values("a=1,x,'b c'") == ["1", "x", "'b c'"]
    assert values("a=range(0,3)") == ["0", "1", "2"]
    assert values("a=choice(p,q)") == ["p", "q"]
    assert len(values(f"a=range(0,{MOST_VALUES})")) == MOST_VALUES


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a=interval(0,1)", "a sweep needs values, e.g. a=a,b; intervals are for python -m guidance.search"),
        ("a=glob(*)", "glob"),
        ("a=range(0,0)", "has no value"),
        ("a=0,range(0,3)", "'a=0,range\\(0,3\\)': "),
        ("a=range(0,3,0)", "must not be zero"),
        (f"a=range(0,{MOST_VALUES + 1})", "more than 10,000 values"),
        ("a=range(0,1000000000)", "more than 10,000 values"),
    ],
)
def test_what_is_no_list_of_values_is_refused(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        values(argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a=[1", "cannot read the overrides"),
        ("a=" + "[" * 1000 + "]" * 1000, "nested too deeply"),
        ("=3", "write key=value"),
        ("+=3", "write key=value"),
    ],
)
def test_what_cannot_be_read_is_refused(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_overrides([argument])
