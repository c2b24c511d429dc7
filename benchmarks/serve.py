"""The service under load: so many requests in flight for so long; or kills at random moments.

    .venv/bin/python benchmarks/serve.py                     # 200 in flight, five minutes: results/serve.*
    .venv/bin/python benchmarks/serve.py --minutes 1 --out /tmp/serve
    .venv/bin/python benchmarks/serve.py --kills 100            # instead: 100 enrolments, each with a kill -9 around it

It makes an index of the photographs below --photos with the default network, starts `circlet serve` on it in a process
of its own, and sends photographs from this one: searches and identifications, and an enrolment for every twentieth
request, taken back at once by every second of them. No two uploads are equal (bytes are put behind the picture's end),
so that nothing is answered from memory. Client and server share the machine's cores.
"""

import argparse
import asyncio
import csv
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np

from circlet.environment import machine
from circlet.index import Index
from circlet.inference import load_model

RESULTS = Path(__file__).parent / "results"
PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "grocery"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, help="the service's limit for an answer; its default unless given")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "serve")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        location = Path(folder) / "photos.index"
        with Index.build(load_model(given.model), given.photos, location=location) as index:
            items = len(index)
        photos = [path.read_bytes() for path in sorted(given.photos.rglob("*.jpg"))[::7]]
        if given.kills:
            kills(location, photos, given.kills)
            return
        limit = [] if given.seconds is None else ["--seconds", str(given.seconds)]
        with served(location, *limit) as (process, address):
            took, statuses, seconds = asyncio.run(load(address, photos, given.in_flight, given.minutes * 60))
            peak = peak_mib(process.pid)
            began = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
            ended = time.perf_counter() - began
    write(given, items, took, statuses, seconds, peak, (status, ended))


async def load(
    address: str, photos: list[bytes], in_flight: int, seconds: float
) -> tuple[dict[str, list[float]], Counter[str], float]:
    """Seconds of each answer by what was asked, how many of each status, and how long it all took."""
    took: dict[str, list[float]] = {"search": [], "identify": [], "enrol": [], "take back": []}
    statuses: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    began = time.perf_counter()

    async def ask(
        client: httpx.AsyncClient, what: str, method: str, path: str, content: bytes | None
    ) -> httpx.Response:
        start = time.perf_counter()
        response = await client.request(method, path, content=content, headers={"Content-Type": "image/jpeg"})
        took[what].append(time.perf_counter() - start)
        statuses[str(response.status_code)] += 1
        return response

    async def one(client: httpx.AsyncClient, number: int) -> None:
        draw = random.Random(number)
        asked = 0
        while time.perf_counter() - began < seconds:
            content = draw.choice(photos) + draw.randbytes(12)
            asked += 1
            try:
                if (asked + number) % 20 == 0:
                    done = await ask(client, "enrol", "POST", f"/api/items?label=new-{number}", content)
                    if done.is_success and asked % 2:
                        await ask(client, "take back", "DELETE", f"/api/items/{done.json()['id']}", None)
                else:
                    what = draw.choice(("search", "identify"))
                    await ask(client, what, "POST", f"/api/{what}", content)
            except httpx.HTTPError as error:
                statuses[type(error).__name__] += 1

    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120, trust_env=False) as client:
        await asyncio.gather(*(one(client, number) for number in range(in_flight)))
    return took, statuses, time.perf_counter() - began


def write(given, items, took, statuses, seconds, peak, end) -> None:  # type: ignore[no-untyped-def]
    """The table, as CSV and in words."""
    rows = []
    took = {**took, "all": [each for times in took.values() for each in times]}
    for what, times in took.items():
        p50, p99, most = np.percentile(times, [50, 99, 100]) if times else [float("nan")] * 3
        rows.append([what, len(times), f"{len(times) / seconds:.1f}", f"{p50:.2f}", f"{p99:.2f}", f"{most:.2f}"])
    heading = ["request", "answers", "per second", "p50, s", "p99, s", "longest, s"]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with open(given.out.with_suffix(".csv"), "w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    errors = sum(count for status, count in statuses.items() if not status.startswith("2"))
    table = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [heading, ["---"] * len(heading), *rows])
    told = machine("torch", "starlette", "uvicorn")
    text = f"""# The service under load

`{" ".join(["benchmarks/serve.py", *sys.argv[1:]])}`: {given.in_flight} requests in flight for {
        seconds / 60:.1f} minutes,
{items:,} photographs in the index, network {given.model}; client and server on the same cores.

{table}

Errors: {errors}. Answers by status: {", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))}.
Peak memory of the server: {peak:,.0f} MiB. After SIGTERM it ended in {end[1]:.1f} s with status {end[0]}.

{told["cpu"]}, {told["cores"]} cores, Python {told["python"]}, torch {told["torch"]}, Starlette {
        told["starlette"]
    }, uvicorn
{told["uvicorn"]}; {told["date"]}; load of the machine at the end {told["load"]}.
"""
    given.out.with_suffix(".md").write_text(text)
    print(text)


def kills(location: Path, photos: list[bytes], number: int) -> None:
    """Enrol, with kill -9 at a random moment around it, and look what is there."""
    draw, answered, killed, sent = random.Random(0), {}, 0, 0
    while killed < number:
        with (
            served(location) as (process, address),
            httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
        ):
            timer = threading.Timer(draw.uniform(0.0, 1.0), process.kill)
            timer.start()
            with suppress(httpx.TransportError):
                while True:
                    label, content = f"class {sent % 7}", draw.choice(photos) + draw.randbytes(12)
                    sent += 1
                    done = client.post("/api/items", params={"label": label}, content=content)
                    assert done.status_code == 201, done.text
                    answered[done.json()["id"]] = label
            timer.join()
            killed += 1
            print(f"{killed} kills, {sent} enrolments sent, {len(answered)} answered", end="\r", flush=True)
    with Index.open(location, read_only=True) as index:
        found = [(item.name.rpartition("/")[2], item.label) for item in index.items() if item.name.startswith("added:")]
    lost = [id for id, label in answered.items() if (id, label) not in set(found)]
    print(f"\n{killed} kills, {sent} enrolments sent, {len(answered)} answered, {len(found)} there: "
          f"{len(lost)} of those answered lost, {len(found) - len(set(found))} double")  # fmt: skip
    if lost or len(found) != len(set(found)):
        sys.exit(1)


@contextmanager
def served(location, *more):  # type: ignore[no-untyped-def]
    """(process, address) of `circlet serve` on a free port, once it takes requests."""
    verb = "import sys; from circlet.cli.serve import main; main(sys.argv[1:])"
    command = [sys.executable, "-P", "-c", verb, str(location), "--port", "0", *more]
    with open(location.with_suffix(".log"), "a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        while not (found := re.search(r"open (http://\S+)", line := process.stdout.readline())):
            if not line:
                sys.exit(f"it did not start: {location.with_suffix('.log').read_text()[-2000:]}")
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else float("nan")
    return float("nan")


if __name__ == "__main__":
    main()
