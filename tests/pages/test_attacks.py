"""Names that want to break out, on every kind of page: nothing runs, nothing breaks, and all are shown as they are."""

import json
import re

import pytest

from tests.pages.kinds import KINDS
from tests.pages.parsed import Parsed

ATTACKS = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "{{7*7}}",
    "{% for x in range(9) %}{# #}",
    "</title></style></select><svg onload=alert(1)>",
    "<!--<script>",
    "</pre>]]><iframe srcdoc='<script>alert(1)</script>'>",
    "&lt;b&gt; &amp;",
    "${alert(1)}`",
)
PLAIN = tuple(f"name {i}" for i in range(len(ATTACKS)))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def attacked(kind):
    return KINDS[kind](ATTACKS)


@pytest.mark.slow
def test_the_elements_are_those_of_a_page_with_plain_names(kind, attacked):
    found, expected = Parsed(attacked), Parsed(KINDS[kind](PLAIN))
    assert found.skeleton == expected.skeleton
    assert found.policy == expected.policy


def test_names_are_shown_as_they_are(attacked):
    whole = [text.strip() for text in Parsed(attacked).text]
    assert set(ATTACKS) <= {text.removesuffix(":pair") for text in whole}


@pytest.mark.parametrize("kind", ["report", "explorer"])
def test_data_stay_inside_their_script_element(kind):
    """Line ends of Unicode too, which end a statement of old JavaScript."""
    page = KINDS[kind]((*ATTACKS, "\u2028\u2029"))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert ATTACKS[0] in json.dumps(json.loads(data))
    assert data.isascii()
    assert not set(data) & set("<>&'")


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_runs(opened, tmp_path, kind, attacked, dark):
    (tmp_path / "page.html").write_bytes(attacked.encode())
    visit = opened(tmp_path / "page.html", dark=dark)
    page = visit.page
    assert page.locator("iframe, img[src=x], [onerror], [onload], [onmouseover], [style]").count() == 0
    assert page.locator("script").count() == (0 if kind == "comparison" else 2)
    assert "49" not in page.title()
    if kind == "report":
        assert page.title() == ATTACKS[0]
        for number, name in enumerate(ATTACKS):
            page.select_option("#map-class", str(number))
            assert page.text_content("#map-name") == name
            assert page.text_content("#map-file").rsplit("/", 1)[0] in ATTACKS
    if kind == "explorer":
        shown = page.eval_on_selector_all("#loss option", "all => all.map(o => [o.value, o.textContent])")
        assert [pair for pair in shown if pair[0] in ATTACKS] == [[name, name] for name in sorted(ATTACKS)]
    visit.expect_clean()
