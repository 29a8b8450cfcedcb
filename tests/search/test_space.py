import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from guidance.errors import InputError
from guidance.search import parse_space


def test_what_varies_and_what_does_not() -> None:
    space = parse_space(
        [
            "seed=1",
            "loss=energy,l1",
            "loss.weight=tag(log,interval(0.01,3))",
            "model.width=int(interval(8,32))",
            "a.b=x",
        ]
    )
    assert space.fixed == ("seed=1", "a.b=x")
    assert space.varied == {
        "loss": CategoricalDistribution(["energy", "l1"]),
        "loss.weight": FloatDistribution(0.01, 3.0, log=True),
        "model.width": IntDistribution(8, 32),
    }
    values: dict[str, str | float | int] = {"loss": "l1", "loss.weight": 0.123456, "model.width": 9}
    assert space.overrides(values) == ["seed=1", "a.b=x", "loss=l1", "loss.weight=0.1235", "model.width=9"]
    assert space.example() == ["seed=1", "a.b=x", "loss=energy", "loss.weight=0.01", "model.width=8"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1"], "nothing varies"),
        (["a=interval(2,1)"], "from a smaller to a larger"),
        (["a=tag(log,interval(0,1))"], "above 0 if in log"),
        (["a=[1"], "cannot read"),
    ],
)
def test_wrong_space_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_space(arguments)
