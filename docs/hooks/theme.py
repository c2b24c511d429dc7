"""What the theme's own HTML lacks for those who do not see the page: names of its search and of its lists of pages."""

import re


def named(page: str) -> str:
    """A finished page with these names.

    >>> named('<div class="md-search" data-md-component="search" role="dialog">')
    '<div class="md-search" data-md-component="search" role="dialog" aria-label="Search">'
    """
    page = re.sub(r'(<div class="md-search"[^>]* role="dialog")>', r'\1 aria-label="Search">', page)
    # The list of a section that has a page of its own is labelled by an icon; the title within it says what it is.
    page = re.sub(r'(<label class="md-nav__title" for="(__nav_\w+)")>', r'\1 id="\2_title">', page)
    return re.sub(r'aria-labelledby="(__nav_\w+)_label"', r'aria-labelledby="\1_title"', page)
