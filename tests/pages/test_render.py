"""What templates do with text, parts and data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup

from circlet.pages import data_uri, page, part

STYLES = ("pages/palette.css",)
ANY_TEXT = st.text(st.characters())  # lone surrogates too


def explorer(title="t", data=None, choices=()):
    scripts = () if data is None else ("report/explorer/losses.js",)
    return page("report/explorer/explorer.html", title, styles=STYLES, scripts=scripts, data=data, choices=choices,
                left_out={})  # fmt: skip


@given(ANY_TEXT)
def test_data_are_read_as_they_were_written(text):
    made = explorer(data={"name": text, text: [1, None, True]})
    (data,) = [part.split("</script>")[0] for part in made.split('id="data">')[1:]]
    assert json.loads(data) == {"name": text, text: [1, None, True]}
    assert data.isascii()
    assert not set(data) & set("<>&'")


@given(ANY_TEXT)
def test_any_text_can_be_written(text):
    assert explorer(title=text).encode().count(b"<title>") == 1


def test_order_of_data_is_kept():
    assert '{"b":1,"a":2}' in explorer(data={"b": 1, "a": 2})


def test_what_is_no_number_in_json_is_an_error():
    with pytest.raises(ValueError, match="not JSON compliant"):
        explorer(data=float("nan"))


def test_parts_stay_as_they_are_and_text_is_escaped():
    rows = [("<b>", [])]
    made = part("report/templates/queries.html", rows=rows)
    assert isinstance(made, Markup)
    assert "&lt;b&gt;" in made
    assert f"{Markup('<p>{}</p>').format(made)}".count("&amp;") == 0


def test_a_name_that_a_template_has_and_nobody_gives_is_an_error():
    with pytest.raises(UndefinedError, match="rows"):
        part("report/templates/queries.html")


def test_a_picture_is_a_data_uri():
    assert data_uri("image/png", b"\x00\xff") == "data:image/png;base64,AP8="
