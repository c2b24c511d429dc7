"""A page taken apart by a parser that forgives nothing: elements, text, policy."""

import html.parser

VOID = {"meta", "img", "input", "br"}


class Parsed(html.parser.HTMLParser):
    """Elements with their attributes in order, and text; an element that is not closed in order is an error."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def skeleton(self):
        """Which elements there are with which attributes, whatever is in them."""
        return [(tag, *own) for tag, own in self.elements]

    @property
    def policy(self):
        """The content security policy, by directive."""
        (found,) = [own["content"] for _, own in self.elements if own.get("http-equiv") == "Content-Security-Policy"]
        return {name: rest for name, *rest in (part.split() for part in found.split(";"))}
