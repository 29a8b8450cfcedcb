"""Contents for parsers: sound files damaged at random, and anything at all."""

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.fuzzing.target import Target


@st.composite
def damaged(draw: st.DrawFn, sound: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A sound file with up to six changes: bytes replaced, removed, repeated or moved, words put in."""
    content = draw(st.sampled_from(sound))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from((0, 1, 2, 4, 8, 16, 64, 1 << 20))))
        piece = content[start:end]
        action = draw(st.sampled_from(("word", "word", "bytes", "remove", "repeat", "move", "cut")))
        if action == "word":
            piece = draw(st.sampled_from(words))
        elif action == "bytes":
            piece = draw(st.binary(max_size=8))
        elif action == "remove":
            piece = b""
        elif action == "repeat":
            piece = piece * draw(st.integers(2, 40))
        elif action == "move":
            place = draw(st.integers(0, start))
            content, start, end = content[:start] + content[end:], place, place
        elif action == "cut":
            content, piece, end = content[:start], b"", start
        content = content[:start] + piece + content[end:]
    return content


def contents(target: Target) -> st.SearchStrategy[bytes]:
    """What is given to a parser: mostly damaged files, then words of the format, then any bytes."""
    sentences = st.lists(st.sampled_from(target.words) | st.binary(max_size=3), max_size=12).map(b"".join)
    return st.one_of(
        damaged(target.sound, target.words),
        damaged(target.sound, target.words),
        sentences,
        st.binary(max_size=200),
    )
