"""The page of a search: whatever images and classes are called, it stays a page, and it needs nothing but itself."""

import pytest

from circlet.index import Index
from circlet.index.page import search_page
from circlet.inference import image_set
from tests.index.tiny import photo, photos, tiny_model

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def page(tmp_path):
    root = photos(tmp_path / "photos", 3, 3)
    photo(root / "<img src=x onerror=alert(2)>" / "x' onclick='alert(3).png", (200, 100, 0))
    with Index.build(tiny_model(), root, show_progress=False) as index:
        index.add(root / "class 0" / "0.png", HOSTILE, ["</style>\u202e\x1b[2J"], show_progress=False)
        (root / "class 1" / "1.png").unlink()
        queries = image_set([root / "class 0" / "0.png", root / "class 2" / "1.png"])
        text = search_page(index, queries, index.search_many(queries, k=20))
    path = tmp_path / "page.html"
    path.write_text(text)
    return path


def test_names_stay_text_and_pictures_are_inside(page):
    text = page.read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert text.count("the same file") == 2 + 1  # both queries, and the copy that was added
    assert text.count('<img src="data:image/webp;base64,') == 2 + 2 * 9
    assert text.count("no picture") == 2 * 2  # of the file that is gone, and of what was added
    assert "http" not in text.replace("http-equiv", "")


def test_a_page_is_of_bounded_size_and_says_so(page, tmp_path, monkeypatch):
    monkeypatch.setattr("circlet.index.page.SHOWN", 2)
    monkeypatch.setattr("circlet.index.page.SHOWN_NEIGHBOURS", 3)
    with Index.build(tiny_model(), tmp_path / "photos", show_progress=False) as index:
        queries = image_set([tmp_path / "photos" / "class 0" / f"{i}.png" for i in range(3)])
        text = search_page(index, queries, index.search_many(queries, k=4))
    assert text.count("<img") == 2 * (1 + 3)
    assert "The first 2 of 3 images" in text
    assert "The first 3 of 5 neighbours" in text


def test_an_empty_index_has_a_page_too(tmp_path):
    query = image_set(photo(tmp_path / "a.png", (1, 2, 3)))
    with Index.create(tiny_model()) as index:
        assert "The index is empty" in search_page(index, query, index.search_many(query))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (360, True)])
def test_in_a_browser(opened, page, width, dark):
    visit = opened(page, width=width, dark=dark)
    visit.expect_clean()
    visit.expect_accessible()
    assert visit.fits()
    assert visit.page.locator("li").count() == 11 * 2
    loaded = visit.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert loaded
