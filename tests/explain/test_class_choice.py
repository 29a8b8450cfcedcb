import pytest

from guidance.errors import InputError
from guidance.explain.class_choice import most_important, named_classes

ANIMALS = ("cat", "dog", "horse")


def test_names_and_numbers() -> None:
    assert named_classes(["dog", 0, "1"], [ANIMALS, ("dog", "cat")]) == ["dog", "cat"]
    assert named_classes([1], [("1", "0")]) == ["1"], "a name goes before a number"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("hores", "unknown class 'hores'. Did you mean 'horse'"),
        ("Dog", "unknown class 'Dog'. Did you mean 'dog'"),
        ("xyz", "unknown class 'xyz'. The 3 classes are cat, dog, horse"),
        (3, "class=3: there are 3 classes, numbered from 0"),
    ],
)
def test_a_wrong_name_gets_the_near_ones(wanted: str | int, message: str) -> None:
    with pytest.raises(InputError) as raised:
        named_classes([wanted], [ANIMALS])
    assert str(raised.value).startswith(message)


def test_every_model_must_know_the_class() -> None:
    with pytest.raises(InputError, match=r"unknown class 'horse'. The 1 classes are cat"):
        named_classes(["horse"], [ANIMALS, ("cat",)])


def test_a_part_of_many_names_is_enough_for_a_hint() -> None:
    with pytest.raises(InputError, match=r"Did you mean 'Labrador retriever'.* c28, \.\.\.$"):
        named_classes(["retriever"], [("Labrador retriever", *(f"c{i}" for i in range(60)))])


def test_boxed_classes_come_first_then_the_most_probable() -> None:
    first = {"cat": 0.1, "dog": 0.5, "horse": 0.2, "cow": 0.9}
    second = {"cat": 0.3, "dog": 0.1, "horse": 0.8}
    assert most_important([first], [], 2) == ["cow", "dog"]
    assert most_important([first], ["cat", "unknown"], 2) == ["cat", "cow"]
    assert most_important([first, second], ["dog"], 9) == ["dog", "horse", "cat"]
    assert most_important([first, {"x": 1.0}], [], 2) == []
