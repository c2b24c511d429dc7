"""A service in a process of its own, which may be killed."""

import re
import time
from contextlib import contextmanager

import httpx

from circlet.index import Index
from circlet.serve import create_app
from circlet.serve.server import address_of, listen, serve
from tests.forks import Forked
from tests.serve.made_up import model


def serve_index(path):
    """Serve the index at a path with the network of `made_up`."""
    listening = listen("127.0.0.1", 0)
    with Index.open(path, model()) as index:
        app = create_app(index)
        serve(app, listening, ready=lambda: print(f"open {address_of(listening)}", flush=True))
    print("stopped", flush=True)


@contextmanager
def served(index):
    """(process, client) of the service of an index, once it takes requests; killed at the end."""
    started = Forked(serve_index, index)
    try:
        lines = []
        while not (found := re.search(r"open (http://\S+)", line := started.stdout.readline())):
            lines.append(line)
            assert line, ("it has ended", lines, started.stderr.read())
        with httpx.Client(base_url=found[1], timeout=60, trust_env=False) as client:
            yield started, client
    finally:
        started.kill()
        started.communicate()


def wait_for_end(started, seconds=60):
    """Its exit status; what it wrote is read, so that it does not wait for a reader."""
    began = time.monotonic()
    out, err = started.communicate(timeout=seconds)
    assert time.monotonic() - began < seconds
    return started.returncode, out, err
