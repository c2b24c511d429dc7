"""A web without a network: addresses whose files lie in a folder."""

import io
from email.message import Message
from urllib.error import URLError


class Response(io.BytesIO):
    def __init__(self, content):
        super().__init__(content)
        self.headers = Message()
        self.headers["Content-Length"] = str(len(content))


def serve(folder, monkeypatch):
    """Let `circlet.download` find https://web/NAME in `folder`; the list of addresses that were asked for."""
    asked = []

    def open_address(url):
        asked.append(url)
        path = folder / url.removeprefix("https://web/")
        if not path.is_file():
            raise URLError("not found")
        return Response(path.read_bytes())

    monkeypatch.setattr("circlet.download._open", open_address)
    return asked
