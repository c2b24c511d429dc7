"""A small service of an index: a page and a JSON API to search, identify, verify and enrol pictures.

| file      | what it is                                                                              |
|-----------|-----------------------------------------------------------------------------------------|
| app       | `create_app`: an index as an ASGI application                                           |
| server    | a process that serves it: socket, uvicorn, signals                                      |
| guard     | what every request passes: host, origin, token, rate; headers, errors and the log       |
| hosts     | which names are answered, and whether a request comes from our own page                 |
| token     | the token, and the page's cookie for it                                                 |
| limits    | `Limits`, and what counts them                                                          |
| refusal   | what a request is refused with                                                          |
| log       | one line for each request                                                               |
| api       | from HTTP to what the service does, and back                                            |
| bodies    | the body of a request: read within limits, taken apart                                  |
| answers   | what is answered, as types                                                              |
| schema    | the API's description (OpenAPI), from those types                                       |
| service   | from bytes of pictures to answers: embedding and searching what comes at once together  |
| pictures  | uploads to pixels in a few threads; small pictures without what a camera wrote          |
| batches   | requests that come at once, worked on together                                          |
| gallery   | the index, and the folder of enrolled pictures: enrol, take back, list                  |
| names     | ids of items, and which labels are taken                                                |
| verdicts  | known, unknown or undecided, and what the threshold means                               |
| page      | the page's files, which lie in static                                                   |

Nothing of a request names a path, and nothing of one is run. Needs the extra `serve`.
"""

from circlet.serve.app import create_app
from circlet.serve.limits import Limits

__all__ = ["Limits", "create_app"]
