"""The page in a browser: a picture by file, paste and drop; enrolling, undoing; the keyboard; dark; on a phone."""

import asyncio
import base64
import threading

import pytest

from circlet.serve import create_app
from circlet.serve.server import address_of, listen, make_server
from tests.browser import WATCH, Visit, until
from tests.serve.made_up import index, picture

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="alert(1)"> & "\'/../'
GIVE = """([kind, target, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  const given = new DataTransfer();
  given.items.add(new File([bytes], "x.png", { type: "image/png" }));
  const of = { bubbles: true, cancelable: true };
  document.querySelector(target).dispatchEvent(kind === "paste"
    ? new ClipboardEvent("paste", { ...of, clipboardData: given })
    : new DragEvent(kind, { ...of, dataTransfer: given }));
}"""


@pytest.fixture
def visit(tmp_path, chromium):
    """A function: visit(**options of the browser and of create_app) -> Visit of the served page."""
    ends = []

    def open_page(*, width=1100, height=900, dark=False, touch=False, **options):
        letters = index(tmp_path, classes=("ant", "bee", HOSTILE.replace("/", "")))
        listening, ready = listen("127.0.0.1", 0), threading.Event()
        server = make_server(create_app(letters, log=lambda line: None, **options), ready=ready.set)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        context = chromium.new_context(viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch,
                                       color_scheme="dark" if dark else "light")  # fmt: skip
        ends.append((context, server, thread, letters))
        assert ready.wait(60)
        address = address_of(listening)
        context.add_init_script(WATCH)
        seen = Visit(context.new_page())
        seen.page.on(
            "console", lambda said: seen.console.append(said.text) if said.type in ("error", "warning") else None
        )
        seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("request", lambda asked: None if asked.url.startswith((address, "blob:")) else
                     seen.requests.append(asked.url))  # fmt: skip
        seen.page.goto(address)
        if "token" not in options:
            until(seen.page, lambda: seen.page.is_visible("#class-list details"))
        return seen

    yield open_page
    for context, server, thread, letters in ends:
        context.close()
        server.should_exit = True
        thread.join(30)
        letters.close()


def choose(page, number=5):
    page.set_input_files("#choose-file", {"name": "x.png", "mimeType": "image/png", "buffer": picture(number)})
    until(page, lambda: page.is_visible("#verdict"))


def give(page, kind, target, number=5):
    page.evaluate(GIVE, [kind, target, base64.b64encode(picture(number)).decode()])


def labels(page):
    return page.eval_on_selector_all("#added-list .text", "all => all.map(each => each.textContent)")


def until_loaded(page):
    """Until all pictures are there: one that is taken back before that is 404."""
    until(page, lambda: page.evaluate("[...document.images].every(image => image.complete)"))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_it_fits_and_is_clean(visit, width, dark):
    seen = visit(width=width, dark=dark, touch=width == 360)
    page = seen.page
    assert seen.fits()
    seen.expect_accessible()
    assert page.is_visible("#photograph") == (width == 360)
    choose(page, 101)
    assert seen.fits()
    assert page.text_content("#label") == "bee"
    until(page, lambda: page.eval_on_selector_all(
        "#neighbour-list img", "all => all.filter(i => i.complete && i.naturalWidth).length") >= 2)  # fmt: skip
    assert page.locator("#neighbour-list li").count() == 9
    assert "this picture" in page.text_content("#neighbour-list li:first-child")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(13, 15, 18)") == dark
    seen.expect_clean()
    seen.expect_accessible()


@pytest.mark.parametrize(("kind", "target"), [("paste", "body"), ("drop", "#picture"), ("drop", "header")])
def test_a_picture_is_pasted_or_dropped(visit, kind, target):
    seen = visit()
    if kind == "drop":
        give(seen.page, "dragenter", target)
        assert "over" in seen.page.get_attribute("#picture", "class")
    give(seen.page, kind, target, 101)
    until(seen.page, lambda: seen.page.is_visible("#verdict"))
    assert seen.page.text_content("#label") == "bee"
    assert "over" not in seen.page.get_attribute("#picture", "class")
    seen.expect_clean()


def test_enrol_and_undo(visit):
    seen = visit()
    page = seen.page
    choose(page)
    page.fill("#class", "Dragonfly")
    page.click("#enrol .main")
    until(page, lambda: labels(page) == ["Dragonfly"])
    assert page.text_content("#toast-text") == "Added to Dragonfly."
    assert page.text_content("#counts") == "10 pictures, 4 classes"
    page.click("#chips button:first-child")
    until(page, lambda: len(labels(page)) == 2)
    until_loaded(page)
    page.click("#undo")
    until(page, lambda: labels(page) == ["Dragonfly"])
    until_loaded(page)
    page.click("#added-list button")
    until(page, lambda: page.text_content("#counts") == "9 pictures, 3 classes")
    assert not page.is_visible("#added")
    seen.expect_clean()


def test_what_is_there_is_not_added_twice_and_undo_does_not_take_it(visit):
    seen = visit()
    page = seen.page
    choose(page)
    for _ in range(2):
        page.fill("#class", "Dragonfly")
        page.click("#enrol .main")
        until(page, lambda: page.is_enabled("#enrol .main"))
    until(page, lambda: page.text_content("#toast-text") == "It is in Dragonfly already.")
    assert not page.is_visible("#undo")
    seen.expect_clean()


def test_all_by_keyboard(visit):
    seen = visit()
    page = seen.page
    choose(page)
    page.focus("#choose")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#chips') !== null")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert outline is not None
    for _ in range(10):
        if page.evaluate("document.activeElement.id") == "class":
            break
        page.keyboard.press("Tab")
    page.keyboard.type("Dragonfly")
    page.keyboard.press("Enter")
    until(page, lambda: labels(page) == ["Dragonfly"])
    until_loaded(page)
    page.focus("#choose")
    page.keyboard.press("Control+z")
    until(page, lambda: not page.is_visible("#added"))
    assert page.evaluate("document.activeElement.id") == "choose"

    def opened():
        if page.locator("#class-list details[open]").count() == 0:  # or the list was drawn anew after the undoing
            page.focus("#class-list summary")
            page.keyboard.press("Enter")
        return page.locator("#class-list details[open] li").count() == 3

    until(page, opened)
    seen.expect_clean()


def test_classes_are_found_and_names_are_text(visit):
    seen = visit()
    page = seen.page
    page.fill("#filter", "ONERROR")
    until(page, lambda: page.locator("#class-list details").count() == 1)
    assert page.text_content("#class-list .clipped") == HOSTILE.replace("/", "")
    page.fill("#filter", "nothing of this name")
    until(page, lambda: page.is_visible("#no-class"))
    choose(page)
    page.fill("#class", HOSTILE)
    page.click("#enrol .main")
    until(page, lambda: labels(page) == [HOSTILE])
    assert page.locator("img[src=x]").count() == 0
    seen.expect_clean()


def test_what_is_no_picture_is_said_where_one_looks(visit):
    seen = visit()
    page = seen.page
    page.set_input_files("#choose-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    until(page, lambda: page.text_content("#problem") != "")
    assert page.text_content("#problem").startswith("Image: found no picture of a format that is read")
    assert not page.is_visible("#answer")
    choose(page)
    assert page.text_content("#problem") == ""
    assert [text for text in seen.console if "415" not in text] == []


def test_the_token_is_asked_for_once(visit):
    token = "a-token-of-more-than-16"
    seen = visit(token=token)
    page = seen.page
    until(page, lambda: page.is_visible("#sign-in"))
    assert page.evaluate("document.activeElement.id") == "token"
    page.fill("#token", "wrong-wrong-wrong-wrong")
    page.keyboard.press("Enter")
    until(page, lambda: "found another" in page.text_content("#sign-in-problem"))
    page.fill("#token", token)
    page.keyboard.press("Enter")
    until(page, lambda: page.is_visible("#class-list details"))
    choose(page)
    page.reload()
    until(page, lambda: page.is_visible("#class-list details"))
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)") == "{}"
    page.click("#sign-out")
    until(page, lambda: page.is_visible("#sign-in"))
    page.goto(f"{page.url}#token={token}")
    page.reload()
    until(page, lambda: page.is_visible("#class-list details"))
    assert token not in page.url


def test_to_look_at_only(visit):
    seen = visit(read_only=True)
    choose(seen.page)
    assert not seen.page.is_visible("#enrol")
    assert "to look at only" in seen.page.text_content("#counts")
    seen.expect_clean()
