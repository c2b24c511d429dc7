"""The frame of a page that needs nothing but itself: style, script and data inside, and no way to the network.

The Content-Security-Policy names the page's own style and script by their digests, so that nothing else is run or
fetched, whatever a class name or a path may contain. There is no style attribute in the page for the same reason.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

STYLES = ("report.css",)
SCRIPTS = ("plane.js", "map.js")


def page(title: str, body: str, data: dict[str, Any]) -> str:
    """The whole page. `body` is HTML, with what comes from data escaped; `data` is what the scripts read."""
    style = _own(STYLES)
    script = "\n".join(f"{{\n{_own([name])}}}" for name in SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style></head>\n<body>{body}\n"
        f'<script type="application/json" id="data">{as_json(data)}</script>\n'
        f"<script>{script}</script>\n</body></html>\n"
    )
    return text.encode(errors="replace").decode()  # a file name need not be Unicode


def as_json(data: Any) -> str:
    """JSON that cannot end the script element it stands in.

    >>> as_json({"name": "</script>"})
    '{"name":"\\\\u003c/script>"}'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _own(names: Sequence[str]) -> str:
    return "".join((files("circlet.report") / name).read_text(encoding="utf-8") for name in names)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
