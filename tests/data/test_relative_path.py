import pytest

from guidance.data.relative_path import leaves_folder


@pytest.mark.parametrize(
    "name", ["a.jpg", "a/b.jpg", "./a.jpg", "a/./b", "..a/b..", ".../a", "a..b/c", " /a"]
)
def test_names_within_the_folder(name: str) -> None:
    assert not leaves_folder(name)


@pytest.mark.parametrize("name", ["", "/", "/a", "\\a", "..", "../a", "a/..", "a/../b", "a\\..\\b", "//a"])
def test_names_that_may_lead_out_of_it(name: str) -> None:
    assert leaves_folder(name)
