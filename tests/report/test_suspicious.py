"""The section on suspicious labels and duplicates."""

from dataclasses import replace

from circlet.report import build_report
from circlet.report.suspicious import suspicious_section
from tests.report.made_up import HOSTILE, run


def found(name):
    one = {"image": name, "label": HOSTILE[0], "suggested": HOSTILE[1], "score": 0.9, "likely": True}
    leak = {"train": HOSTILE[0], "query": name, "similarity": 0.98}
    alike = {"classes": list(HOSTILE[:2]), "mixing": [0.9, 0.8, 1.0]}
    return {"judged": 9, "likely": 1, "leaks": [leak], "suspicious": [one] * 14, "look_alike": [alike]}


def test_findings_are_shown_and_nothing_breaks_out():
    plain = run()
    text = build_report(replace(plain, audit=found(plain.query.names[0])))
    assert "Suspicious labels, duplicates" in text
    assert "1 of 9 labels are probably wrong." in text
    assert "The first 12 of 14" in text
    assert "<img src=x" not in text


def test_test_images_have_pictures_and_others_names():
    plain = run()
    assert "<img" in str(suspicious_section(replace(plain, audit=found(plain.query.names[0]))))
    assert "<img" not in str(suspicious_section(replace(plain, audit=found("gone.png"))))


def test_a_run_that_found_nothing_and_one_that_did_not_look():
    nothing = {"judged": 9, "likely": 0, "leaks": [], "suspicious": [], "look_alike": []}
    assert "Nothing was found." in str(suspicious_section(replace(run(), audit=nothing)))
    assert suspicious_section(run()) is None
