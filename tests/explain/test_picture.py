from guidance.explain.picture import picture_names


def test_pictures_have_names_of_their_own() -> None:
    names = ["a.jpg", "a.png", "sub/a.png", "b.tar.png", "test-17"]
    assert picture_names(names) == ["a.jpg.png", "a.png.png", "sub-a.png", "b.tar.png", "test-17.png"]
