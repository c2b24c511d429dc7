"""Equations as drawings: ```math blocks become SVG by matplotlib's own layout, so no script is fetched to show them.

A block holds one equation a line, in the TeX that matplotlib's mathtext knows. They take the colour of the text, in
light and in dark, and a screen reader is read their source.
"""

import io
import re
from html import escape

from matplotlib import font_manager, mathtext

_BLOCK = re.compile(r"^```math\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_SIZE = 15.0  # points: about the height of the text beside it


def with_formulas(page: str) -> str:
    """The page with its equations drawn.

    >>> "<svg" in with_formulas("```math\\ns_p > 1 - m\\n```\\n")
    True
    """
    return _BLOCK.sub(lambda match: _drawn(match.group(1).strip().splitlines()), page)


def _drawn(lines: list[str]) -> str:
    pictures = "\n".join(_svg(line) for line in lines if line.strip())
    return f'<div class="math">\n{pictures}\n</div>'


def _svg(line: str) -> str:
    """One equation; an error of mathtext says which."""
    buffer = io.BytesIO()
    try:
        mathtext.math_to_image(f"${line}$", buffer, font_manager.FontProperties(size=_SIZE), format="svg")
    except ValueError as error:
        raise ValueError(f"equation {line!r}: {error}") from error
    picture = buffer.getvalue().decode()
    picture = re.sub(r".*?(<svg )", r"\1", picture, flags=re.DOTALL)
    picture = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<!--.*?-->", "", picture, flags=re.DOTALL)
    picture = re.sub(r'<g id="patch_1">.*?</g>', "", picture, flags=re.DOTALL)  # the white ground
    # Glyphs are defined once a page, by names that differ from those of the next equation.
    tag = f"m{abs(hash(line)) % 10**8}-"
    picture = re.sub(r'(id="|href="#|url\(#)', rf"\1{tag}", picture)
    picture = picture.replace("<svg ", f'<svg role="img" aria-label="{escape(line)}" ', 1)
    return re.sub(r"\s*\n\s*", " ", picture)
