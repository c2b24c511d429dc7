"""HTML pages: the one frame of all that circlet writes, and what makes sure that a class name in them stays text.

| file        | what it is                                                                                  |
|-------------|---------------------------------------------------------------------------------------------|
| base.html   | the frame: content security policy, style, the page's own body, data and script             |
| palette.css | colours that pages share, light and dark                                                    |
| render      | templates into pages and parts of pages                                                     |

Each page's own template lies with what fills it, such as circlet/report/templates/report.html, and extends base.html.
"""

from circlet.pages.render import data_uri, page, part

__all__ = ["data_uri", "page", "part"]
