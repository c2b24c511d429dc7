"""The page as text: numbers, escaping, and what is left out."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet.analyse import Hardest
from circlet.data import ImageSet
from circlet.losses import AMSoftmaxLoss, CircleLoss, Form, PairLoss, SoftmaxLoss
from circlet.report import Embedded, ReportData, build_report
from circlet.report import build as build_module
from circlet.report import embedding_map as map_module
from circlet.report import plane as plane_module
from circlet.report.embedding_map import chosen_points, places
from circlet.report.plane import LEFT, SIDE, TOP, plane_section
from circlet.report.survey import survey
from circlet.rules import ConstantMargin
from tests.pages.parsed import Parsed
from tests.report.made_up import HOSTILE, image_set, run, trace


@pytest.fixture(scope="module")
def page():
    return build_report(run())


def test_sections_of_a_sample_say_so(monkeypatch, page):
    assert "random queries" not in page
    monkeypatch.setattr(build_module, "survey", lambda *arguments: survey(*arguments, max_pairs=100))
    sections = build_report(run()).split("<section>")
    words = re.compile(r"Of \d+ random queries among the \d+\.")
    found = {re.match("<h2>([^<]+)", section)[1] for section in sections if words.search(section)}
    assert found
    assert found == {"Worst queries", "Best queries", "Hardest confusions"} & set(re.findall("<h2>([^<]+)", page))


def test_what_telemetry_does_not_see_is_said_beside_its_charts(page):
    made = replace(run(), sampled="Not <all> of them.")
    section = next(part for part in build_report(made).split("<section>") if "<h2>Pairs during training" in part)
    assert "Not &lt;all&gt; of them." in section


@pytest.mark.parametrize("gallery", [False, True])
def test_hostile_names_stay_text(gallery):
    parsed = Parsed(build_report(run(with_gallery=gallery)))
    tags = [tag for tag, _ in parsed.elements]
    assert tags.count("script") == 2
    assert {"b", "i", "u"} & set(tags) <= {"b"}
    attributes = {name for _, own in parsed.elements for name in own}
    assert not any(name.startswith("on") for name in attributes)
    assert "style" not in attributes  # the policy would not let it count
    sources = [own["src"] for _, own in parsed.elements if "src" in own]
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not [own for _, own in parsed.elements if "href" in own]
    options = {text for text in parsed.text if text in HOSTILE}
    assert len(options) >= len(HOSTILE) - 1  # the lone surrogate cannot be written


def test_data_cannot_end_their_element(page):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert "<" not in data
    assert json.loads(data)["map"]["classes"] == list(HOSTILE)


def test_headline_numbers(page):
    cells = re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td><td>([^<]+)</td>', page)
    assert cells == [("Recall@1", "0.250", "0.875"), ("MAP@R", "–", "–")]
    assert "&lt;u&gt;run&lt;/u&gt; &amp; more" in page
    assert "105 within a class, 756 between two" in page  # 7 classes x 15 pairs; 42 x 41 / 2 pairs


def test_page_can_be_written(page):
    page.encode()


def test_sections_without_data_are_left_out(page):
    headings = re.findall(r"<h2>([^<]+)</h2>", page)
    assert {"Training", "Pairs during training", "The plane of similarities", "Map of the embedding"} <= set(headings)
    bare = build_report(run(log=(), trace=(), loss=None, details={}))
    gone = {"Training", "Pairs during training", "The plane of similarities"}
    assert set(re.findall(r"<h2>([^<]+)</h2>", bare)) == set(headings) - gone
    assert "<details>" not in bare


@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [0, 0, 1, 2, 3, 4], [0] * 8])
def test_the_smallest_test_sets(labels):
    torch.manual_seed(0)
    for rows in (torch.randn(len(labels), 3), torch.ones(len(labels), 3), torch.zeros(len(labels), 3)):
        Parsed(build_report(run(query=image_set(labels), embedded=Embedded(rows, None))))


def test_classes_of_the_gallery_alone_can_be_confused():
    query, gallery = image_set([0, 1, 1]), image_set([0, 1, 2, 5], shift=9)
    embedded = Embedded(torch.eye(4)[[2, 1, 3]], torch.eye(4))
    page = build_report(run(query=query, gallery=gallery, embedded=embedded))
    assert "1 of 1 queries find <bdi>]]&gt;&lt;!--</bdi> first" in page
    assert "1 of 2 queries find <bdi>a very long name" in page


def test_numbers_of_images_and_embeddings_must_agree():
    with pytest.raises(ValueError, match=r"embedded\.query: found 3 rows, expected 42"):
        run(embedded=Embedded(torch.ones(3, 2), None))
    with pytest.raises(ValueError, match=r"embedded\.gallery: found 2 rows, expected None"):
        run(embedded=Embedded(torch.ones(42, 2), torch.ones(2, 2)))


def test_one_image_and_two_dimensions_are_refused():
    rows = torch.eye(2)
    with pytest.raises(ValueError, match="query: found 1 image, expected at least 2, or a gallery"):
        ReportData("", {}, image_set([0]), Embedded(rows[:1], None))
    with pytest.raises(ValueError, match=r"embedded.gallery: found dimension 3, expected 2"):
        ReportData("", {}, image_set([0, 1]), Embedded(rows, torch.ones(2, 3)), gallery=image_set([0, 1]))


def test_embeddings_must_be_finite():
    with pytest.raises(ValueError, match=r"embedded\.query: found 1 rows with nan or inf, the first is row 2"):
        run(embedded=Embedded(torch.ones(42, 2).index_fill_(0, torch.tensor([2]), torch.nan), None))


def test_junk_of_reid_is_passed_over():
    names = ("-1", "7", "9")
    query, gallery = image_set([1, 2], names), image_set([1, 0, 2, 0], names, shift=5)
    embedded = Embedded(torch.eye(3)[:2], torch.eye(3)[[0, 0, 1, 1]])
    page = build_report(run(query=query, gallery=gallery, embedded=embedded, reid=True))
    assert "2 within a class, 2 between two" in page
    assert "in a gallery of 2 images" in page
    assert "Hardest confusions" not in page
    assert "pairs of one camera count" in page
    assert "in a gallery of 4 images" in build_report(run(query=query, gallery=gallery, embedded=embedded))


# The plane.


def path_points(path):
    return np.array([[float(x) for x in point.split()] for point in re.split("[ML]", path.replace("Z", "")) if point])


def similarities(points, low=-0.4, high=1.0):
    """s_n and s_p of places in the drawing."""
    unit = (high - low) / SIDE
    return low + (points[:, 0] - LEFT) * unit, high - (points[:, 1] - TOP) * unit


def test_boundary_of_circle_loss_is_the_circle_of_the_paper():
    html_text = plane_section(trace(), CircleLoss(margin=0.4, gamma=32.0)).html
    s_n, s_p = similarities(path_points(re.search(r'class="boundary" d="([^"]+)"/><g', html_text)[1]))
    np.testing.assert_allclose(s_n**2 + (s_p - 1) ** 2, 2 * 0.4**2, atol=4e-3)
    assert len(s_n) > 50
    assert "of Circle, margin 0.4, gamma 32;" in html_text


def test_boundary_of_a_constant_margin_is_a_line():
    html_text = plane_section(trace(), AMSoftmaxLoss(margin=0.35, gamma=64.0)).html
    s_n, s_p = similarities(path_points(re.search(r'class="boundary" d="([^"]+)"/><g', html_text)[1]))
    np.testing.assert_allclose(s_p - s_n, 0.35, atol=4e-3)


def test_a_rule_by_row_has_the_boundary_of_embeddings_of_length_1():
    class ByLength:
        def for_rows(self, rows):
            return ConstantMargin(0.2 * float(rows.norms.mean()), 8.0)

    class ByLengthLoss(PairLoss):
        def form(self):
            return Form(ByLength())

    html_text = plane_section(trace(), ByLengthLoss()).html
    s_n, s_p = similarities(path_points(re.search(r'class="boundary" d="([^"]+)"/><g', html_text)[1]))
    np.testing.assert_allclose(s_p - s_n, 0.2, atol=4e-3)
    assert "of By-Length, for embeddings of length 1;" in html_text


def test_frames_are_the_trace():
    frames = trace()
    data = plane_section(frames, CircleLoss()).data
    assert data["steps"] == [frame.step for frame in frames]
    for frame, shown, mean in zip(frames, data["points"], data["means"], strict=True):
        s_n, s_p = similarities(np.array(shown).reshape(-1, 2) / 10)
        np.testing.assert_allclose(s_n, frame.s_n.clip(-0.4, 1), atol=2e-4)
        np.testing.assert_allclose(s_p, frame.s_p.clip(-0.4, 1), atol=2e-4)
        assert similarities(np.array([mean]) / 10)[0] == pytest.approx(frame.s_n.mean(), abs=2e-4)


def test_long_traces_are_thinned_out_evenly_and_steps_without_anchors_left_out():
    empty = Hardest(1, np.empty(0), np.empty(0))
    frames = [empty, *(Hardest(i, np.full(500, 0.5), np.full(500, 0.1)) for i in range(2, 3000))]
    data = plane_section(frames, CircleLoss()).data
    assert len(data["steps"]) == plane_module.MAX_FRAMES
    assert (data["steps"][0], data["steps"][-1]) == (2, 2999)
    assert {len(points) for points in data["points"]} == {2 * plane_module.MAX_ANCHORS}


def test_inner_products_have_a_plane_of_their_own_size():
    frames = [Hardest(1, np.array([30.0, 50.0]), np.array([-20.0, 5.0]))]
    section = plane_section(frames, SoftmaxLoss())
    assert " hidden" in section.html  # one step: nothing to play
    for x, y in np.array(section.data["points"][0]).reshape(-1, 2):
        assert 10 * LEFT <= x <= 10 * (LEFT + SIDE)
        assert 10 * TOP <= y <= 10 * (TOP + SIDE)


# The map.


def test_map_takes_equally_many_of_each_class_at_most():
    labels = np.repeat(np.arange(400), 50)
    labels[:3000] = 0
    labels = np.unique(labels, return_inverse=True)[1]
    chosen = chosen_points(labels)
    assert len(chosen) == len(set(chosen)) <= map_module.MAX_POINTS
    _, counts = np.unique(labels[chosen], return_counts=True)
    assert len(counts) == map_module.MAX_CLASSES
    assert set(counts) == {map_module.MAX_POINTS // map_module.MAX_CLASSES}


def test_map_keeps_classes_together():
    torch.manual_seed(0)
    labels = torch.arange(4).repeat_interleave(20)
    found = torch.from_numpy(places(torch.eye(64)[labels] + 0.05 * torch.randn(80, 64)))
    assert (found.min(), found.max()) == (0, 1)
    nearest = torch.cdist(found, found).fill_diagonal_(torch.inf).argmin(1)
    assert torch.equal(labels[nearest], labels)


def test_no_map_where_there_is_nothing_to_see():
    assert places(torch.eye(4)) is None
    assert places(torch.ones(20, 8)) is None


def test_report_needs_four_things_only():
    images = ImageSet(np.array([0, 0, 1]), ("a", "b"), ("1", "2", "3"), image_set([0, 0, 0]).read)
    page = build_report(ReportData("small", {}, images, Embedded(torch.eye(3), None)))
    assert "1 within a class, 2 between two" in page
