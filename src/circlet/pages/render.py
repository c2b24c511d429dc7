"""Templates into pages. Everything that is put into one is escaped, unless it is itself a rendered part.

A template, a style sheet and a script are named by their path in the package: "report/templates/report.html".
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def page(
    template: str,
    title: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str] = (),
    data: Any = None,
    **content: Any,
) -> str:
    """A whole page as text that can be written as UTF-8.

    template: extends pages/base.html. styles, scripts: files of the package, in order; each script has a scope of its
    own. data: what the scripts read, as JSON. content: what the template names.
    """
    style = "".join(_read(name) for name in styles)
    script = '"use strict";\n' + "".join(f"{{\n{_read(name)}}}\n" for name in scripts) if scripts else ""
    assert "</" not in style + script, "a style sheet or a script would end its own element"
    made = _environment().get_template(template)
    text = made.render(title=title, style=style, script=script, data=data, **content)
    return f"{text}\n".encode(errors="replace").decode()  # a file name need not be Unicode


def part(template: str, **content: Any) -> Markup:
    """A part of a page, which other templates put in as it is."""
    return Markup(_environment().get_template(template).render(**content))


def data_uri(media_type: str, content: bytes) -> str:
    """A picture to stand in the page itself.

    >>> data_uri("image/png", b"...")
    'data:image/png;base64,Li4u'
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def digest(text: str) -> str:
    """What a content security policy calls the text of a style or a script by.

    >>> digest("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("circlet", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["digest"] = digest
    environment.filters["thousands"] = "{:,}".format  # 1234567 as 1,234,567
    # The filter `tojson` escapes <, >, & and ' so that data cannot end their script element, and all but ASCII.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _read(name: str) -> str:
    return (files("circlet") / name).read_text(encoding="utf-8")
