import pytest
from omegaconf import OmegaConf

from guidance.data.folder.class_names import check_class_names, label_order
from guidance.errors import InputError


def test_names_may_come_as_any_list() -> None:
    assert check_class_names(None) is None
    assert check_class_names(["cat", "dog"]) == ("cat", "dog")
    assert check_class_names(OmegaConf.create(["cat", 1])) == ("cat", "1")


@pytest.mark.parametrize("classes", ["cat", [], 3, {"cat": 1}])
def test_what_is_no_list_of_names(classes: object) -> None:
    with pytest.raises(InputError, match=r"data\.classes is .*data\.classes=\[cat,dog\]"):
        check_class_names(classes)


def test_a_name_given_twice() -> None:
    with pytest.raises(InputError, match="names a class twice: cat, dog, cat"):
        check_class_names(["cat", "dog", "cat"])


def test_order() -> None:
    assert label_order(None, None, {"dog", "cat"}) == ("cat", "dog")
    assert label_order(None, ("dog", "cat", "cow"), {"cat"}) == ("dog", "cat", "cow")
    assert label_order(("dog",), None, {"dog", "cat"}) == ("dog",)
    assert label_order(("cow",), ("dog", "cat", "cow"), set()) == ("cow",)


def test_an_unknown_class() -> None:
    with pytest.raises(InputError, match=r"data\.classes: 'dgo'. Did you mean 'dog'.*cat, dog"):
        label_order(("dgo",), None, {"dog", "cat"})


def test_no_class_at_all() -> None:
    with pytest.raises(InputError, match="no annotation of the data set names a class"):
        label_order(None, None, set())
