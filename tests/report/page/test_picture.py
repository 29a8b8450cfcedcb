"""Pictures are part of the page."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from guidance.report.page import Picture
from guidance.report.page.picture import data_uri, draw_picture, draw_store, picture_id


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(content, "PNG")
    return content.getvalue()


def test_a_file_and_its_content_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    assert data_uri(png()) == data_uri(tmp_path / "a.png")
    kind, _, content = data_uri(png()).partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == png()


def test_the_kind_is_told_by_the_content() -> None:
    content = io.BytesIO()
    Image.new("RGB", (4, 3)).save(content, "JPEG")
    assert data_uri(content.getvalue()).startswith("data:image/jpeg;")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg onload='alert(1)'/>")
    with pytest.raises(ValueError, match=r"a\.svg' is no PNG, JPEG or GIF"):
        data_uri(tmp_path / "a.svg")


def test_equal_contents_are_kept_once() -> None:
    one, same, other = Picture(png(), (4, 3), "a"), Picture(png(), (4, 3), "b"), Picture(png((5, 3)), (5, 3))
    store = str(draw_store([one, same, other]))
    assert store.count("<image ") == 2
    for picture in (one, same, other):
        name = picture_id(picture)
        assert f'<use href="#{name}"/>' in str(draw_picture(picture))
        assert f'id="{name}"' in store


def test_boxes_are_drawn_in_pixels_of_the_picture() -> None:
    text = str(draw_picture(Picture(png(), (4, 3), "dog <b>", [(1, 0, 3, 2)])))
    assert 'viewBox="0 0 4 3"' in text
    assert '<rect class="box" x="1" y="0" width="2" height="2"/>' in text
    assert "dog &lt;b&gt;" in text
