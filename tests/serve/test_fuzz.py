"""A few of the requests of `tests.serve.fuzz_requests`."""

from tests.serve.fuzz_requests import fuzz
from tests.serve.made_up import run


def test_no_request_is_answered_by_a_500(tmp_path):
    counts = run(fuzz(400, 0, tmp_path))
    assert {200, 201, 400, 415, 421} <= set(counts)
