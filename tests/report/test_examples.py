"""Which queries and classes are shown, against brute force."""

from collections import Counter

import pytest
import torch

from circlet.report.examples import NUM_CONFUSIONS, NUM_QUERIES, confusions, margins, ranked
from circlet.report.survey import survey


@pytest.fixture(params=[0, 1, 2])
def surveyed(request):
    torch.manual_seed(request.param)
    labels = torch.randint(9, (60,))
    points = torch.nn.functional.normalize(torch.randn(9, 5)[labels] + 0.8 * torch.randn(60, 5), dim=1)
    return points, labels, survey(points, None, labels, labels)


def similarities(points):
    return (points @ points.T).fill_diagonal_(-torch.inf)


def test_margin_is_first_right_less_first_wrong(surveyed):
    points, labels, found = surveyed
    s = similarities(points)
    same = labels[:, None] == labels
    matched = found.matched
    expected = s.masked_fill(~same, -torch.inf).amax(1) - s.masked_fill(same, -torch.inf).amax(1)
    torch.testing.assert_close(margins(found)[matched], expected[matched])


@pytest.mark.parametrize("best", [True, False])
def test_best_and_worst_queries(surveyed, best):
    points, labels, found = surveyed
    nearest = similarities(points).argmax(1)
    margin = margins(found)
    eligible = [i for i in range(60) if found.matched[i] and (labels[nearest[i]] == labels[i]) == best]
    expected: dict[int, int] = {}
    for i in sorted(eligible, key=lambda i: margin[i], reverse=best):
        expected.setdefault(int(labels[i]), i)
    assert ranked(found, labels, best=best) == list(expected.values())[:NUM_QUERIES]


def test_confusions_count_queries_of_both_sides(surveyed):
    points, labels, found = surveyed
    nearest = similarities(points).argmax(1)
    number = Counter()
    for i in range(60):
        a, b = int(labels[i]), int(labels[nearest[i]])
        if a != b and found.matched[i]:
            number[a, b] += 1
    listed = confusions(found, labels, labels)
    for pair in listed:
        assert pair.first < pair.second
        assert pair.first_to_second == number[pair.first, pair.second]
        assert pair.second_to_first == number[pair.second, pair.first]
    totals = sorted(Counter({(min(p), max(p)): 0 for p in number}), key=str)
    totals = sorted((number[a, b] + number[b, a] for a, b in totals), reverse=True)
    assert [pair.first_to_second + pair.second_to_first for pair in listed] == totals[:NUM_CONFUSIONS]


def test_a_perfect_embedding_has_no_worst_query_and_no_confusion():
    labels = torch.arange(12) // 3
    points = torch.eye(4)[labels]
    found = survey(points, None, labels, labels)
    assert ranked(found, labels, best=False) == []
    assert len(ranked(found, labels, best=True)) == 4
    assert confusions(found, labels, labels) == []


def test_queries_without_any_match_are_not_shown():
    points, labels = torch.eye(3), torch.arange(3)
    found = survey(points, None, labels, labels)
    assert ranked(found, labels, best=False) == ranked(found, labels, best=True) == []
    assert confusions(found, labels, labels) == []
