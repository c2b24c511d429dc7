"""The part of the page about thresholds, and intervals in its first table."""

import re

import pytest

from circlet.experiments.promises import OpenSetFound, Promise
from circlet.report import build_report
from circlet.report.open_set import det_chart, open_set_section
from tests.report.made_up import run

PROMISES = (
    Promise("identify", 0.1, 0.5, 39, 0.08, (0.04, 0.12), 0.01, (0.01, 0.01), 0.97, 0.9),
    Promise("identify", 0.01, 0.625, 39, 0.0123, (0.004, 0.025), 0.031, (0.01, 0.06), 0.95, 0.98),
    Promise("verify", 1e-3, 0.55, 0, 0.0008, (0.0002, 0.002), 0.2, (0.1, 0.3)),
)
FOUND = OpenSetFound(
    39, 1300, 1320, 800_000, {"auroc": 0.98, "fnir@1e-2": 0.03, "tar@1e-3": 0.8},
    {"auroc": (0.97, 0.99), "fnir@1e-2": (0.01, 0.05), "tar@1e-3": (0.8, 0.8)},
    ((0.9, 0.0, 0.9), (0.7, 0.001, 0.2), (0.5, 0.1, 0.01), (0.1, 1.0, 0.0)), PROMISES,
)  # fmt: skip


def section(page):
    return next((part for part in page.split("<section>") if "nobody known" in part), None)


def test_thresholds_are_a_sentence_and_a_table():
    part = section(build_report(run(open_set=FOUND, chosen_on="41 <training> classes")))
    assert ("At 0.625, 1.2 of 100 (0.4 to 2.5) images of unknown classes are taken for one of the 39 enrolled; "
            "3.1 % (1.0 to 6.0) of known ones are missed.") in part  # fmt: skip
    assert "chosen on 41 &lt;training&gt; classes" in part
    rows = re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td><td>([^<]+)</td><td class="interval">([^<]+)', part)
    assert rows == [
        ("identify, 1 of 10", "0.500", "0.8 of 10 (0.4 to 1.2)", "1.0 %"),
        ("identify, 1 of 100", "0.625", "1.2 of 100 (0.4 to 2.5)", "3.1 % (1.0 to 6.0)"),
        ("verify, 1 of 1,000", "0.550", "0.8 of 1,000 (0.2 to 2)", "20.0 % (10.0 to 30.0)"),
    ]
    assert '<th scope="row">FNIR at FPIR 1e-2</th><td>0.030</td><td class="interval">0.010 to 0.050</td>' in part
    assert '<th scope="row">TAR at FAR 1e-3</th><td>0.800</td><td class="interval"></td>' in part


def test_without_thresholds_it_says_so():
    part = section(build_report(run(open_set=FOUND._replace(promises=()))))
    assert "The run has no thresholds: no training classes were held out" in part
    assert "AUROC" in part


def test_runs_of_earlier_versions_have_no_such_part():
    assert open_set_section(None) is None
    assert det_chart(None) == ""
    page = build_report(run())
    assert section(page) is None
    assert "95 %, over classes" not in page


def test_the_curve_has_the_threshold_on_it():
    chart = str(det_chart(FOUND))
    assert "the threshold 0.625" in chart
    assert "unknown ones taken for somebody (FPIR)" in chart
    assert "the threshold" not in str(det_chart(FOUND._replace(promises=())))


@pytest.mark.parametrize("ends", [(0.8, 0.95), (0.875, 0.875)])
def test_intervals_stand_beside_the_metrics(ends):
    page = build_report(run(intervals={"recall@1": ends}))
    text = "0.800 to 0.950" if ends[0] < ends[1] else ""
    assert f'<td>0.250</td><td>0.875</td><td class="interval">{text}</td>' in page
    assert '<td>–</td><td>–</td><td class="interval"></td>' in page
