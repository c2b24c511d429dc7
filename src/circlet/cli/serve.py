"""`circlet serve`: a page and a JSON API to search, identify and enrol pictures."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from circlet.cli.common import Trust, choose_device
from circlet.terminal import printable

try:
    from circlet.serve import Limits, create_app
    from circlet.serve.limits import is_loopback
    from circlet.serve.server import address_of, listen, serve
    from circlet.serve.token import checked_token, new_token, read_token
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "python_multipart", "anyio", "h11"):
        raise
    raise ImportError(f"found no {error.name}, which circlet serve needs: pip install 'circlet[serve]'") from error

if TYPE_CHECKING:
    from circlet.index import Index
    from circlet.serve.gallery import Gallery

DESCRIPTION = """Serve an index: a page, for a phone too, and a JSON API.

Drop, paste or photograph a picture and see what is like it, which class it is of or that it is unknown; add it to a
class or start a new one; take it back. What is enrolled is in the index before it is answered, and a small picture of
it, without what the camera wrote beside the pixels, lies in INDEX.enrolled. The originals are not kept.

Only this machine is answered, unless a token is given: then --host 0.0.0.0 serves a network (over HTTP, which others
on the way can read: put a proxy with TLS in front of it for more than your own network, with --behind-proxy). The API
is described at /openapi.json. Ctrl+C stops it.

examples:
  circlet serve photos.index
  circlet serve photos.index --read-only --port 8080
  circlet serve photos.index --host 0.0.0.0 --token-file token.txt
  curl -F image=@one.jpg http://127.0.0.1:8000/api/identify
  curl -F image=@one.jpg -F label=Pears http://127.0.0.1:8000/api/items"""


@dataclass(frozen=True)
class ServeArguments:
    """Arguments of `circlet serve`."""

    index: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="INDEX")]
    """Index of circlet index: a folder, milvus:FILE, or the address of a server."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0: all of this machine, which needs a token."""
    port: int = 8000
    """Port to listen on; 0: a free one."""
    token: str | None = None
    """What requests must carry (Authorization: Bearer); other users of this machine can see it: rather --token-file."""
    token_file: Path | None = None
    """A file whose only line is the token."""
    read_only: bool = False
    """Enrol nothing."""
    name: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Names by which the service is reached, beside addresses and localhost, such as photos.example.org."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where pictures of what is enrolled are kept; by default INDEX.enrolled."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where the indexed images lie now; by default where they lay."""
    behind_proxy: bool = False
    """A proxy on this machine forwards requests: believe it for whom (X-Forwarded-For). Needs a token too."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """The index's model, where it is not any more where it was: a run folder, a file, or a name."""
    trust: Trust = ()
    """Names (package.module:name) in the model's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    """What requests may take."""


def main(arguments: list[str]) -> None:
    """Open, listen, serve, close."""
    parsed = tyro.cli(ServeArguments, args=arguments, prog="circlet serve", description=DESCRIPTION)
    token = _token(parsed)
    from circlet.index import Index
    from circlet.inference import load_model
    from circlet.locks import FolderInUse

    device = choose_device(parsed.device)
    if not 0 <= parsed.port < 1 << 16:
        raise ValueError(f"--port: found {parsed.port}, expected 0 to 65535")
    listening = listen(parsed.host, parsed.port)  # before the model is loaded, which takes its time
    try:
        model = None if parsed.model is None else load_model(parsed.model, trust=parsed.trust, device=device)
        try:
            index = Index.open(parsed.index, model, read_only=parsed.read_only, trust=parsed.trust, device=device)
        except FolderInUse as error:
            raise FolderInUse(f"{error}, or look at it alone with --read-only") from None
        with index:
            app = create_app(
                index, token=token, limits=parsed.limits, names=parsed.name, pictures=parsed.pictures,
                root=parsed.root, read_only=parsed.read_only,
            )  # fmt: skip
            serve(app, listening, ready=lambda: _say_ready(index, app.state.gallery, address_of(listening)),
                  behind_proxy=parsed.behind_proxy)  # fmt: skip
    finally:
        listening.close()
    print("stopped; every enrolment that was answered is in the index", file=sys.stderr)


def _token(parsed: ServeArguments) -> str | None:
    """The token; ValueError where one is needed and there is none."""
    if parsed.token is not None and parsed.token_file is not None:
        raise ValueError("--token: found --token-file too, expected one of them")
    token = read_token(parsed.token_file) if parsed.token_file is not None else parsed.token
    if token is None and not is_loopback(parsed.host):
        raise ValueError(f"--host: found {parsed.host} without a token, expected one for anything but this machine: "
                         f"--token-file FILE, with a line such as {new_token()}")  # fmt: skip
    if token is None and parsed.behind_proxy:
        raise ValueError(f"--behind-proxy: found no token, expected one: --token-file FILE, with a line such as "
                         f"{new_token()}")  # fmt: skip
    return None if token is None else checked_token(token)


def _say_ready(index: "Index", gallery: "Gallery", address: str) -> None:
    thresholds = index.thresholds
    known = "tells known from unknown" if thresholds and thresholds.identify else "no threshold: nothing is unknown"
    lines = [
        f"{index.location}: {len(index):,} pictures of {gallery.num_classes:,} classes, {index.mark.name}; {known}"
    ]
    if gallery.root is None and index.places:
        lines.append(f"shows pictures from {', '.join(index.places)}, as the index says (--root: from elsewhere)")
    if gallery.read_only:
        lines.append("read only: nothing can be enrolled")
    else:
        lines.append(f"enrolments go into the index, small pictures of them into {gallery.pictures}")
    lines.append(f"open {address} (Ctrl+C stops the service)")
    for line in lines:
        print(printable(line), flush=True)
