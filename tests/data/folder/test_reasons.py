from guidance.data.annotation import Skipped
from guidance.data.folder.reasons import commonest_reason


def test_the_commonest_reason_of_images_counts() -> None:
    skipped = [
        Skipped("box", "it has no area", "a:1"),
        Skipped("image", "it is broken", "b"),
        Skipped("image", "it is missing", "c"),
        Skipped("image", "it is missing", "d"),
        Skipped("box", "it has no area", "e:1"),
        Skipped("box", "it has no area", "f:1"),
    ]
    assert commonest_reason(skipped) == "; 2 images skipped: it is missing (e.g. c)"
    assert commonest_reason(skipped[:2]) == "; 1 image skipped: it is broken (e.g. b)"
    assert commonest_reason(skipped[:1]) == "; 1 box skipped: it has no area (e.g. a:1)"


def test_nothing_skipped() -> None:
    assert commonest_reason([]) == ""
