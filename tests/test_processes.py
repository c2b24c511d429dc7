"""A test that starts a process without saying so fails (`conftest.py`): `make quick` rests on it."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import torch

WAYS = {
    "Popen": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "system": lambda: os.system("true"),
    "fork": os.fork,
    "forked worker": lambda: multiprocessing.get_context("fork").Process(target=print).start(),
    "spawned worker": lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
}


@pytest.mark.parametrize("start", WAYS.values(), ids=WAYS)
def test_a_process_in_a_test_without_the_marker_fails_it(start):
    with pytest.raises(pytest.fail.Exception, match=r"test_processes.py::test_a_process_.* mark it `subprocess`"):
        start()


@pytest.mark.subprocess
def test_a_process_in_a_test_with_the_marker_is_fine():
    assert subprocess.run([sys.executable, "-c", "print(3)"], check=True, capture_output=True).stdout.strip() == b"3"


def test_browser_and_compile_are_marked_by_themselves(request):
    for item in request.session.items:
        if {"browser", "compile"} & {mark.name for mark in item.iter_markers()}:
            assert item.get_closest_marker("subprocess"), item.nodeid


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="a single process has all cores")
def test_a_worker_has_one_thread():
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
