"""A service in a process of its own, which may be killed: python -m tests.serve.process INDEX [PORT]."""

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def main():
    """Serve the index at a path with the network of `made_up`."""
    from circlet.index import Index
    from circlet.serve import create_app
    from circlet.serve.server import address_of, listen, serve
    from tests.serve.made_up import model

    listening = listen("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    with Index.open(sys.argv[1], model()) as index:
        app = create_app(index)
        serve(app, listening, ready=lambda: print(f"open {address_of(listening)}", flush=True))
    print("stopped", flush=True)


@contextmanager
def process(*command):
    """(process, client) once it takes requests; killed at the end."""
    started = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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


def served(index):
    """The service of an index in a process of its own."""
    return process("-m", "tests.serve.process", str(index))


def wait_for_end(started, seconds=60):
    """Its exit status; what it wrote is read, so that it does not wait for a reader."""
    began = time.monotonic()
    out, err = started.communicate(timeout=seconds)
    assert time.monotonic() - began < seconds
    return started.returncode, out, err


if __name__ == "__main__":
    main()
