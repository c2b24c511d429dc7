"""Telemetry against plain loops over pairs, and its gradients against autograd through the library."""

import json

import pytest
import torch

import circlet
from circlet.analyse import telemetry
from circlet.analyse.boundary import decision
from circlet.analyse.decision_plane import vectors
from circlet.analyse.trace import NAME, Trace, read_trace
from circlet.references import LabelledRows
from circlet.training import Objective
from tests.analyse.family import FAMILY
from tests.training import tiny


def batch(num_classes=4, per_class=3, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    centres = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return centres[labels] + torch.randn(len(labels), dim, generator=generator, dtype=torch.float64), labels


def by_loops(loss, embeddings, labels, references, reference_labels, own):
    """Means as the docstring says, pair by pair; dL/ds by autograd through a loss on the similarities themselves."""
    form = loss.form()
    unit = torch.nn.functional.normalize if form.normalize else lambda x: x
    s = (unit(embeddings) @ unit(references).T).requires_grad_()
    lists = {key: [] for key in ("s_p", "s_n", "s_p_min", "s_n_max", "alpha_p", "alpha_n", "alpha_p_zero",
                                 "alpha_n_zero", "past_boundary", "positives_past", "negatives_past", "gradient_p",
                                 "gradient_n")}  # fmt: skip
    separate = isinstance(loss, circlet.MultiSimilarityLoss)
    for i in range(len(s)):
        own_p = [j for j in range(len(references)) if labels[i] == reference_labels[j] and not (own and i == j)]
        own_n = [j for j in range(len(references)) if labels[i] != reference_labels[j]]
        if not own_p or not own_n:
            continue
        pos, neg = form.rule.positive(s[i, own_p]), form.rule.negative(s[i, own_n])
        reduce = (lambda x: x.logsumexp(0)) if form.positives == "logsumexp" else torch.amax
        (gradient,) = torch.autograd.grad(form.aggregate(reduce(pos), reduce(neg)), s, retain_graph=True)
        lists["s_p"] += s[i, own_p].tolist()
        lists["s_n"] += s[i, own_n].tolist()
        lists["s_p_min"].append(s[i, own_p].min().item())
        lists["s_n_max"].append(s[i, own_n].max().item())
        lists["alpha_p"] += (-form.rule.positive_slope(s[i, own_p]) / form.rule.scales[0]).tolist()
        lists["alpha_n"] += (form.rule.negative_slope(s[i, own_n]) / form.rule.scales[1]).tolist()
        lists["alpha_p_zero"] += (form.rule.positive_slope(s[i, own_p]) == 0).tolist()
        lists["alpha_n_zero"] += (form.rule.negative_slope(s[i, own_n]) == 0).tolist()
        lists["positives_past"] += [
            bool(pos[k] < 0) if separate else bool(decision(form, s[i, own_n].max(), s[i, j]) < 0)
            for k, j in enumerate(own_p)
        ]
        lists["negatives_past"] += [
            bool(neg[k] < 0) if separate else bool(decision(form, s[i, j], s[i, own_p].min()) < 0)
            for k, j in enumerate(own_n)
        ]
        lists["past_boundary"].append(float(decision(form, s[i, own_n].max(), s[i, own_p].min()) < 0))
        lists["gradient_p"].append(gradient[i, own_p].abs().sum().item())
        lists["gradient_n"].append(gradient[i, own_n].abs().sum().item())
    largest = {f"{key}_max": max(lists[key]) for key in ("alpha_p", "alpha_n")}
    return largest | {key: sum(values) / len(values) for key, values in lists.items()}


@pytest.mark.parametrize("loss", FAMILY.values(), ids=FAMILY)
@pytest.mark.parametrize("level", ["pair", "class", "joint"])
def test_against_loops(loss, level):
    embeddings, labels = batch()
    labels[0] = 3  # classes of unequal size
    weights = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows, classes, sources, own = {
        "pair": (embeddings, labels, [None], True),
        "class": (weights, torch.arange(4), [weights], False),
        "joint": (torch.cat([embeddings, weights]), torch.cat([labels, torch.arange(4)]), [None, weights], True),
    }[level]
    found = telemetry.observe(loss, embeddings, labels, sources)
    assert found.values == pytest.approx(by_loops(loss, embeddings, labels, rows, classes, own), rel=1e-9, abs=1e-12)
    assert found.s_p.mean().item() == pytest.approx(found.values["s_p_min"])
    assert found.s_n.mean().item() == pytest.approx(found.values["s_n_max"])


def test_pairs_past_the_boundary_of_circle_and_those_of_no_weight():
    """m = 0.2: with s_p = 0.9 a negative is past the boundary inside the circle of radius sqrt(0.08); alpha_n = 0 at
    or below -m.
    """
    s_n = torch.tensor([0.1, 0.2, 0.3, -0.2, -0.5], dtype=torch.float64)
    anchor, references = vectors(torch.cat([torch.tensor([0.9], dtype=torch.float64), s_n]))
    labels = torch.tensor([0, 1, 1, 1, 1, 1])
    observed = telemetry.observe(
        circlet.CircleLoss(margin=0.2, gamma=8.0), anchor, labels[:1], [LabelledRows(references, labels)]
    )
    assert observed.values["negatives_past"] == pytest.approx(4 / 5)  # all but 0.3
    assert observed.values["positives_past"] == observed.values["past_boundary"] == 0  # beside 0.3
    assert observed.values["alpha_n_zero"] == pytest.approx(2 / 5)
    assert observed.values["alpha_n_max"] == pytest.approx(0.5)
    assert (observed.values["alpha_p_max"], observed.values["alpha_p_zero"]) == (pytest.approx(0.3), 0)


def test_gradient_mass_is_what_backward_gives():
    """One positive and one negative: the gradient on the anchor is gradient_p and gradient_n along two directions."""
    anchor = torch.tensor([[1.0, 0, 0]], dtype=torch.float64, requires_grad=True)
    references = torch.tensor([[0.6, 0.8, 0], [0.5, 0, 0.75**0.5]], dtype=torch.float64)
    loss = FAMILY["circle"]
    loss(anchor, torch.tensor([0]), references).backward()
    values = telemetry.observe(loss, anchor, torch.tensor([0]), [references]).values
    assert anchor.grad[0, 1].item() == pytest.approx(-values["gradient_p"] * 0.8)
    assert anchor.grad[0, 2].item() == pytest.approx(values["gradient_n"] * 0.75**0.5)


@pytest.mark.parametrize("level", ["pair", "class", "joint"])
def test_it_fits_an_objective_and_leaves_no_gradient(level):
    embeddings, labels = batch()
    embeddings = embeddings.float().requires_grad_()
    objective = Objective(circlet.CircleLoss(margin=0.25, gamma=8.0), level, 4, 6)
    values = telemetry.Telemetry()(objective, embeddings, labels)
    sources = {"pair": [None], "class": [objective.classes], "joint": [objective.classes, None]}[level]
    assert values == telemetry.observe(objective.loss, embeddings, labels, sources).values
    assert all(isinstance(value, float) for value in values.values())
    assert embeddings.grad is None
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_a_batch_without_a_valid_anchor_has_no_values(labels):
    found = telemetry.observe(FAMILY["circle"], torch.randn(3, 4), torch.tensor(labels))
    assert (found.values, len(found.s_p), len(found.s_n)) == ({}, 0, 0)


def test_half_precision_under_autocast_is_computed_in_fp32():
    embeddings, labels = batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = telemetry.observe(FAMILY["circle"], embeddings.bfloat16(), labels).values
    exact = telemetry.observe(FAMILY["circle"], embeddings.bfloat16().float(), labels).values
    assert found == exact


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("loss", FAMILY.values(), ids=FAMILY)
def test_on_a_gpu_as_on_a_cpu(loss):
    embeddings, labels = batch()
    weights = torch.randn(4, 6, dtype=torch.float64)
    here = telemetry.observe(loss, embeddings, labels, [weights, None])
    there = telemetry.observe(loss, embeddings.cuda(), labels.cuda(), [weights.cuda(), None])
    assert there.values == pytest.approx(here.values)
    assert there.s_p.device.type == "cpu"


def test_big_problems_are_sampled(monkeypatch):
    embeddings, labels = batch(num_classes=40, per_class=4)
    exact = telemetry.observe(FAMILY["circle"], embeddings, labels)
    monkeypatch.setattr(telemetry, "MAX_ANCHORS", 64)
    fewer = telemetry.observe(FAMILY["circle"], embeddings, labels)
    assert len(fewer.s_p) == 64
    kept = torch.linspace(0, 159, 64).long()
    torch.testing.assert_close(fewer.s_p, exact.s_p[kept])  # each anchor still meets all references
    torch.testing.assert_close(fewer.s_n, exact.s_n[kept])
    weights = torch.randn(5000, 6, dtype=torch.float64)
    monkeypatch.setattr(telemetry, "MAX_ANCHORS", telemetry.MIN_ANCHORS)
    whole = telemetry.observe(FAMILY["circle"], embeddings, labels, [weights])
    monkeypatch.setattr(telemetry, "MAX_PAIRS", 40_000)
    sampled = telemetry.observe(FAMILY["circle"], embeddings, labels, [weights])
    torch.testing.assert_close(sampled.s_p, whole.s_p)  # the anchors' own classes are always there
    assert (sampled.s_n <= whole.s_n).all()
    assert (sampled.s_n < whole.s_n).any()
    assert sampled.values["s_n"] == pytest.approx(whole.values["s_n"], abs=0.1)


def test_sources_over_ranks_are_what_lies_on_this_one():
    embeddings, labels = batch()
    sharded = circlet.ShardedClassWeights(4, 6, sample_rate=0.5)
    found = telemetry.observe(FAMILY["circle"], embeddings, labels, [sharded, circlet.AllRanks()]).values
    assert found == telemetry.observe(FAMILY["circle"], embeddings, labels, [sharded.weight, None]).values


def test_memory_joins_once_it_holds_something():
    embeddings, labels = batch()
    bank = circlet.MemoryBank(size=5, embedding_dim=6)
    alone = telemetry.observe(FAMILY["circle"], embeddings, labels).values
    assert telemetry.observe(FAMILY["circle"], embeddings, labels, [None, bank]).values == alone
    bank.update(embeddings[:3], labels[:3])
    found = telemetry.observe(FAMILY["circle"], embeddings, labels, [None, bank])
    assert found.values["s_n"] != alone["s_n"]
    assert found.s_p.numpy() == pytest.approx(telemetry.observe(FAMILY["circle"], embeddings, labels).s_p.numpy())


@pytest.mark.parametrize("source", ["the batch", {}])
def test_no_source(source):
    with pytest.raises(ValueError, match=r"references: found (str|dict), expected a tensor, None"):
        telemetry.observe(FAMILY["circle"], *batch(), [source])
    with pytest.raises(ValueError, match="objective: found CircleLoss, expected a loss with its sources"):
        telemetry.Telemetry()(FAMILY["circle"], *batch())


def logged(folder, steps):
    lines = [{"step": step, "loss": 1.0} for step in steps] + [{"step": steps[-1], "validation_map@r": 0.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_trace_follows_metrics(tmp_path):
    trace = Trace(tmp_path)
    trace.add([0.5, 0.25], [0.1, 0.2])
    trace.add([0.6], [0.1])
    trace.add([0.7], [0.1])
    logged(tmp_path, [10, 20, 30])
    assert [(line.step, line.s_p.tolist()) for line in read_trace(tmp_path)] == [
        (10, [0.5, 0.25]),
        (20, [0.6]),
        (30, [0.7]),
    ]
    with open(tmp_path / NAME, "a") as file:
        file.write('{"s_p": [0.')  # killed while writing
    logged(tmp_path, [10, 20])  # resumed from the checkpoint at 20
    Trace(tmp_path).add([0.9], [0.0])
    logged(tmp_path, [10, 20, 30])
    assert [line.s_p.tolist() for line in read_trace(tmp_path)] == [[0.5, 0.25], [0.6], [0.9]]


def test_steps_without_a_trace_are_left_out(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pairs\.jsonl: no such file; expected the run folder"):
        read_trace(tmp_path)
    logged(tmp_path, [10, 20])
    Trace(tmp_path).add([0.9], [0.0])
    logged(tmp_path, [10, 20, 30])
    assert [line.step for line in read_trace(tmp_path)] == [30]


@pytest.mark.parametrize("broken", ["metrics.jsonl", "pairs.jsonl"])
def test_a_broken_trace_is_named(tmp_path, broken):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (tmp_path / "pairs.jsonl").write_text('{"s_p": [0.5], "s_n": [0.1]}\n')
    (tmp_path / broken).write_text("\0\0\n")
    with pytest.raises(ValueError, match=rf"{broken}, line 1: found no valid JSON"):
        read_trace(tmp_path)


def test_telemetry_writes_the_trace(tmp_path):
    embeddings, labels = batch()
    objective = Objective(circlet.CircleLoss(margin=0.25, gamma=8.0), "pair", 4, 6)
    telemetry.Telemetry(Trace(tmp_path))(objective, embeddings, labels)
    logged(tmp_path, [20])
    (line,) = read_trace(tmp_path)
    found = telemetry.observe(objective.loss, embeddings, labels)
    assert line.s_p == pytest.approx(found.s_p.numpy(), abs=1e-4)
    assert line.s_n == pytest.approx(found.s_n.numpy(), abs=1e-4)


def test_an_interrupted_run_has_the_trace_of_a_whole_one(tmp_path):
    class Interrupted(tiny.Batches):
        def epoch(self, epoch, start_batch):
            if epoch == 5:  # at step 15, between the checkpoints at 14 and 21
                raise InterruptedError
            yield from super().epoch(epoch, start_batch)

    def train(path, batches):
        return tiny.run(path, batches=batches, observe=telemetry.Telemetry(Trace(path)))[2]

    whole = train(tmp_path / "whole", tiny.Batches())
    with pytest.raises(InterruptedError):
        train(tmp_path / "cut", Interrupted())
    assert [seen.step for seen in read_trace(tmp_path / "cut")] == [5, 10, 15]
    resumed = train(tmp_path / "cut", tiny.Batches())
    assert (resumed.path / NAME).read_text() == (whole.path / NAME).read_text()
    assert [seen.step for seen in read_trace(resumed.path)] == [5, 10, 15, 20, 25, 30]
    logs = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in run.read_metrics()] for run in (whole, resumed)
    ]
    assert logs[0] == logs[1]
    assert "gradient_p" in logs[0][0]
