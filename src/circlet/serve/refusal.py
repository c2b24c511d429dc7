"""What a request is refused with: a status, one sentence, and perhaps when to come again."""

from starlette.responses import JSONResponse, Response


class Refusal(Exception):
    """A request that is not served; `sentence` is for whoever sent it, and holds nothing of this machine.

    status: of HTTP, 400 to 599. retry_s: seconds after which it may do, for 429 and 503. headers: further ones.
    """

    def __init__(
        self, status: int, sentence: str, *, retry_s: float | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.headers = dict(headers or {})
        if retry_s is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_s)))

    def response(self) -> Response:
        """As JSON: {"status": 413, "error": "..."}."""
        return JSONResponse({"status": self.status, "error": self.sentence}, self.status, self.headers)
