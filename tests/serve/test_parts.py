"""The small parts: rooms and buckets, cookies, bodies, batches, the log."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.serve.batches import Batches
from circlet.serve.bodies import taken_apart
from circlet.serve.gallery import pictures_of
from circlet.serve.limits import Buckets, Limits, Room
from circlet.serve.names import checked_label, content_of, enrolled_name, id_of
from circlet.serve.refusal import Refusal
from circlet.serve.token import SESSION_S, Access, read_token
from tests.serve.made_up import run

TOKEN = "a-token-of-more-than-16"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=60))
def test_no_client_gets_more_than_its_rate(asked):
    now, allowed = 0.0, {}
    buckets = Buckets(0.5, 3, lambda: now)
    for client, passed in asked:
        now += passed
        if buckets.wait(client) == 0:
            allowed[client] = allowed.get(client, 0) + 1
    assert all(number <= 3 + 0.5 * now + 1e-6 for number in allowed.values())


def test_who_waits_as_told_is_let_in():
    now = 0.0
    buckets = Buckets(0.1, 1, lambda: now)
    assert buckets.wait("a") == 0
    now += buckets.wait("a") + 1e-9
    assert buckets.wait("a") == 0


def test_many_clients_take_no_more_memory():
    buckets = Buckets(1, 1)
    for number in range(20_000):
        buckets.wait(str(number))
    assert len(buckets._left) == 10_000


def test_room_is_given_back_whatever_happens():
    room = Room(10, "full")
    with pytest.raises(Refusal, match="full"), room.held(8):
        room.take(3)
    assert room.taken == 0


@pytest.mark.parametrize(
    ("name", "value"), [("max_mib", 0), ("burst", 0), ("rate", -1), ("seconds", float("nan")), ("memory_mib", 1)]
)
def test_limits_that_cannot_be(name, value):
    with pytest.raises(ValueError, match=f"{name}: found"):
        Limits(**{name: value})


def test_a_session_goes_out():
    now = 0.0
    access = Access(TOKEN, clock=lambda: now)
    cookie = access.session(TOKEN)
    assert access.has_session(f"other=1; {cookie}")
    now = SESSION_S + 1.0
    assert not access.has_session(cookie)


@given(st.text(max_size=80))
def test_no_other_cookie_counts(text):
    access = Access(TOKEN, clock=lambda: 0.0)
    assert not access.has_session(text)
    assert not access.has_session(f"{access.cookie}={text}")
    name, _, value = access.session(TOKEN).partition("=")
    until, _, mac = value.partition(".")
    assert not access.has_session(f"{name}={int(until) + 1}.{mac}")
    assert not Access("another-token-of-ours", clock=lambda: 0.0).has_session(f"{name}={value}")


def test_a_token_in_a_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=r"token: .*token: found"):
        read_token(path)


def multipart(*parts, end=b"--b--\r\n"):
    head = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    return b"".join(head % part for part in parts) + end


def test_a_body_is_taken_apart():
    body = multipart((b"image", b'; filename="../../x"', b"\r\n--\0"), (b"label", b"", "ä".encode()))
    found = taken_apart('multipart/form-data; boundary="b"', body, {"label": "other", "k": "3"})
    assert found == ({"image": b"\r\n--\0"}, {"label": "ä", "k": "3"})


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data; boundary=b", multipart((b"image", b'; filename="x"', b"1"), end=b""), 400),
        ("multipart/form-data; boundary=b", multipart((b"a", b"", b"1"), (b"a", b"", b"2")), 400),
        ("multipart/form-data; boundary=b", multipart(*[(b"a%d" % i, b"", b"") for i in range(17)]), 400),
        ("multipart/form-data; boundary=b", multipart((b"a", b"", b"x" * 5000)), 400),
        ("multipart/form-data; boundary=b", multipart((b"a", b"", b"\xff")), 400),
        ("multipart/form-data; boundary=b", b"no multipart at all", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"h: 1\r\n" * 1000, 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"h" * 100_000, 400),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=" + 300 * "b", b"--b", 400),
        ("application/x-www-form-urlencoded", b"image=1", 415),
        ("text/html", b"<p>", 415),
    ],
)
def test_bodies_that_are_refused(content_type, body, status):
    with pytest.raises(Refusal) as caught:
        taken_apart(content_type, body, {}).picture("image")
    assert caught.value.status == status


@given(st.binary(max_size=300), st.text("multipar/fom-dt;bouny=\"' *'", max_size=60))
def test_any_body_is_taken_apart_or_refused(body, content_type):
    for kind in (content_type, "multipart/form-data; boundary=b"):
        for content in (body, b"--b\r\n" + body):
            with suppress(Refusal):
                taken_apart(kind, content, {})


@given(st.text(max_size=120))
def test_a_label_that_is_taken_stays_as_it_is(text):
    try:
        label = checked_label(text)
    except Refusal:
        return
    assert checked_label(label) == label
    assert "\n" not in label
    assert "\x1b" not in label


@given(st.text(max_size=50), st.text(max_size=50))
def test_ids_are_digests(one, other):
    name = enrolled_name(content_of(one.encode(errors="replace")), other)
    for each in (one, name):
        assert len(id_of(each)) == 32
        assert set(id_of(each)) <= set("0123456789abcdef")
    assert name.endswith(id_of(name))


def test_what_comes_while_a_batch_is_under_way_makes_the_next():
    batches = []

    def work(numbers):
        batches.append(list(numbers))
        time.sleep(0.05)
        return [-number for number in numbers]

    async def all_of_them():
        with ThreadPoolExecutor(1) as thread:
            ask = Batches(work, thread, most=4)
            return await asyncio.gather(*(ask(number) for number in range(10)))

    assert run(all_of_them()) == [-number for number in range(10)]
    assert sorted(number for batch in batches for number in batch) == list(range(10))
    assert max(map(len, batches)) == 4


def test_an_error_is_that_of_its_batch_alone():
    def work(numbers):
        return [1 // number for number in numbers]

    async def some():
        with ThreadPoolExecutor(1) as thread:
            ask = Batches(work, thread, most=1)
            return await asyncio.gather(*(ask(number) for number in (1, 0, 1)), return_exceptions=True)

    first, error, last = run(some())
    assert (first, last, type(error)) == (1, 1, ZeroDivisionError)


def test_who_has_gone_costs_nothing():
    seen = []

    async def cancelled():
        with ThreadPoolExecutor(1) as thread:
            ask = Batches(lambda numbers: seen.extend(numbers) or numbers, thread, most=8)
            task = asyncio.create_task(ask(1))
            await asyncio.sleep(0)
            task.cancel()
            return await ask(2)

    assert run(cancelled()) == 2
    assert seen == [2]


def test_where_pictures_are_kept(tmp_path):
    (tmp_path / "letters.index").mkdir()
    expected = tmp_path / "letters.index.enrolled"
    assert pictures_of(str(tmp_path / "letters.index"), None, False) == expected
    assert pictures_of("postgresql://host/db", tmp_path, False) == tmp_path
    assert pictures_of("postgresql://host/db", None, True) is None
    with pytest.raises(ValueError, match="pictures: found none for an index that is no folder"):
        pictures_of("postgresql://host/db", None, False)
