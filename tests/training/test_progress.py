"""Progress on a terminal and elsewhere."""

import io
import re

from circlet.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_elsewhere_a_line_now_and_then(monkeypatch):
    import importlib

    module = importlib.import_module("circlet.progress")
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with progress("train", 10, done=2, file=out) as shown:
        for _ in range(8):
            shown.advance(loss=1.23456)
    lines = out.getvalue().splitlines()
    assert lines == ["train: 5/10, 0.2/s, 25 s left, loss 1.235", "train: 8/10, 0.2/s, 10 s left, loss 1.235"]


def test_on_a_terminal_a_bar(monkeypatch):
    out = Terminal()
    with progress("train", 3, file=out) as shown:
        shown.bar.delay = 0
        for _ in range(3):
            shown.advance(loss=0.5)
        shown.print("step 3: done")
    assert "step 3: done\n" in out.getvalue()
    assert re.search(r"train: +100%\|", out.getvalue())
