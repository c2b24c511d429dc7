"""A comparison on frozen features, in real processes: what is shared, what is chosen where, how it goes on."""

import csv
import io
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from circlet.cli import main
from circlet.cli.compare import LOSSES_OF_HEADS
from circlet.compare import Machine, Plan, build_page, compare, csv_text, markdown, parse_contender, verdicts_markdown
from circlet.compare.contenders import candidates
from circlet.compare.head_worker import Images, make
from circlet.compare.heads import HeadWorkers
from circlet.compare.runs import Run
from circlet.compare.start import Start, find_start, for_heads
from circlet.experiments import build_splits, train
from circlet.recipes import RECIPES
from circlet.training import RunFolder
from circlet.transfer import Judgement

pytestmark = pytest.mark.subprocess
TWO = Machine(jobs=2)
START = Start({}, {}, {})


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIRCLET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made(pretrained, tmp_path_factory, cache):
    """Three losses, two seeds, and a search for two of them, in two processes."""
    losses = tuple(map(parse_contender, ("circle:pair:gamma=32", "am_softmax", "triplet")))
    plan = Plan(pretrained, losses, seeds=2, search=2, search_steps=2, validation_share=0.34)
    folder = tmp_path_factory.mktemp("comparison")
    return plan, folder, compare(plan, folder, TWO)


@pytest.fixture
def no_processes(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a finished run was made again")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_every_loss_and_seed_is_there_beside_the_network(made, pretrained):
    _, folder, result = made
    assert [entry.label for entry in result.entries] == ["circle:pair:gamma=32", "am_softmax:class", "triplet:pair"]
    assert result.of_heads
    assert result.steps == 3
    for entry in result.entries:
        assert [len(part) for part in (entry.test, entry.cost, entry.classes)] == [2, 2, 2]
        assert entry.loss_curve[0][-1][0] == 3
        for test, classes in zip(entry.test, entry.classes, strict=True):
            assert len(classes) == 6
            assert np.mean([values["map@r"] for values in classes.values()]) == pytest.approx(test["map@r"])
    assert result.frozen.keys() == result.raw_pixels.keys() == result.entries[0].test[0].keys()
    frozen = [values["map@r"] for values in result.frozen_classes.values()]
    assert np.mean(frozen) == pytest.approx(result.frozen["map@r"])
    assert not list(folder.rglob("*.pt"))
    assert not (folder / "heads.log").exists()
    found = json.loads(next((folder / "runs").glob("*/result.json")).read_text())
    assert found["frozen"] == result.frozen
    assert found["raw_pixels"] == result.raw_pixels


def test_a_run_is_what_circlet_train_makes_of_the_same_settings(made, pretrained, tmp_path):
    """By the frozen network's figures, and by the closed form, which is that of the stage."""
    alone = for_heads(pretrained)
    outcome = train(alone, build_splits(alone.data), RunFolder.create(tmp_path / "run", alone.to_json()),
                    torch.device("cpu"))  # fmt: skip
    assert outcome.frozen == pytest.approx(made[2].frozen)
    assert outcome.raw_pixels == pytest.approx(made[2].raw_pixels)


def test_the_search_sees_training_classes_only(made):
    _, folder, result = made
    searched = list((folder / "search").glob("*/result.json"))
    assert len(searched) == 4
    for path in searched:
        found = json.loads(path.read_text())
        assert (found["train_classes"], found["test_classes"]) == (4, 2)  # of the six training classes
        assert "frozen" not in found
        config = json.loads((path.parent / "config.json").read_text())
        assert config["transfer"]["head"]["steps"] == 2
        assert RunFolder(path.parent).read_json("search.json") == {"validation_share": 0.34}
    am = result.entries[1]
    assert am.settings == max(am.candidates, key=lambda tried: tried.map_at_r).settings


def test_finished_runs_are_read(made, no_processes):
    plan, folder, result = made
    assert compare(plan, folder, TWO) == result


def test_a_run_that_was_cut_off_is_made_again(made, capsys):
    plan, folder, result = made
    run = next((folder / "runs").glob("triplet*seed-1*"))
    before = json.loads((run / "result.json").read_text())["test"]
    for name in ("result.json", "cost.json", "classes.json"):
        (run / name).unlink()
    again = compare(plan, folder, Machine())
    assert "5 of 6 runs are finished already" in capsys.readouterr().out
    assert json.loads((run / "result.json").read_text())["test"] == before
    assert again.entries[2].test == result.entries[2].test


def test_page_tables_and_sentences(made):
    result = made[2]
    lines = markdown(result).splitlines()
    first = ["raw pixels", "frozen network", "circle:pair:gamma=32"]
    assert [line.split(" | ")[0].lstrip("| ") for line in lines[2:]][:2] == first[:2]
    assert len({line.count("|") for line in lines}) == 1
    assert "difference" not in lines[0]  # they are over classes, in a table of their own
    told = verdicts_markdown(result)
    assert "on your data" in told.lower()
    assert "Of the differences to circle:pair:gamma=32 in MAP@R (Holm-corrected, p < 0.05) are " in told
    assert (
        "| loss | map@r, difference to frozen network | p (Holm) | map@r, difference to circle:pair:gamma=32 |" in told
    )
    page = build_page(result, ["circlet", "compare"])
    for text in ("a linear head on the features of the frozen small", "Differences over the test classes",
                 "<code>--keep-models</code>", "dashed lines: the frozen network", "Only a linear head was trained",
                 "stands there partly"):  # fmt: skip
        assert text in page
    rows = list(csv.DictReader(io.StringIO(csv_text(result))))
    assert rows[0]["loss"] == "frozen network"
    assert float(rows[0]["map@r"]) == pytest.approx(result.frozen["map@r"], abs=1e-6)
    gained = np.mean(result.entries[2].values("map@r")) - result.frozen["map@r"]
    assert float(rows[-1]["difference_to_frozen"]) == pytest.approx(gained, abs=1e-6)
    assert rows[-1]["steps"] == "3"


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1200])
def test_page_opens_from_disk_and_fits(made, opened, tmp_path, width):
    (tmp_path / "page.html").write_text(build_page(made[2], ["circlet", "compare", "--out", "a" * 200]))
    visit = opened(tmp_path / "page.html", width=width)
    visit.expect_clean()
    visit.expect_accessible()
    assert visit.fits()


@pytest.fixture(scope="module")
def images(pretrained, cache, tmp_path_factory):
    """What a worker shares among its runs, in this process."""
    return Images(for_heads(pretrained), torch.device("cpu"), tmp_path_factory.mktemp("comparison"))


def made_here(images, run, **changes):
    """Make a run without a process for it."""
    task = {**HeadWorkers(TWO, START, run.parent)._task(run), "shrinkage": 0.3, **changes}
    make(task, images.heads(run.validation_share), torch.device("cpu"), 1, 1)
    return RunFolder(run.path)


def test_models_are_kept_for_evaluation_and_reports_where_asked(images, tmp_path, capsys):
    run = Run(tmp_path, "a", images.experiment)
    assert not made_here(images, run).model.exists()
    assert run.finished
    kept = replace(run, keep_model=True)
    assert kept.path == run.path
    assert not kept.finished
    folder = made_here(images, kept, known={"raw_pixels": {"map@r": 0.1}})
    assert kept.finished
    capsys.readouterr()
    assert main(["evaluate", str(run.path), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["test"]
    assert found == pytest.approx(folder.read_result()["test"], abs=1e-6)
    assert main(["report", str(run.path), "--out", str(tmp_path / "report.html")]) == 0


def test_seeds_and_starts_differ_and_repeat(images, tmp_path):
    seeds = [replace(images.experiment, loop=replace(images.experiment.loop, seed=seed)) for seed in (0, 1, 0)]
    found = [images.heads(0.0).train(each, 0.3).head.weight for each in seeds]
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert images.heads(0.0).start(0.3) is images.heads(0.0).start(0.3)
    assert torch.equal(images.heads(0.0).start(None).weight, torch.eye(128))
    short = replace(images.experiment, model=replace(images.experiment.model, embedding_dim=8))
    assert images.heads(0.0).train(short, None).head.weight.shape == (8, 128)


def test_a_head_that_diverges_leaves_its_reason(images, tmp_path):
    loss = parse_contender("unified:pair:gamma=3e38").loss
    run = Run(tmp_path, "diverges", replace(images.experiment, loss=loss))
    assert "of the head" in made_here(images, run).diverged
    assert run.finished
    assert replace(run, keep_model=True).finished
    assert not (run.path / "result.json").exists()


def test_a_run_that_fails_is_named_with_its_reason(pretrained, tmp_path):
    gone = Run(tmp_path, "gone", replace(pretrained, data=replace(pretrained.data, root=tmp_path / "nowhere")))
    with HeadWorkers(TWO, START, tmp_path) as workers, pytest.raises(ValueError, match=r"gone: .*nowhere"):
        workers.finish([gone])
    assert all(worker.process.poll() is not None for worker in workers.workers)


def test_a_process_that_is_killed_is_told_with_the_end_of_its_log(pretrained, tmp_path):
    with HeadWorkers(Machine(), START, tmp_path) as workers:
        long = _long(pretrained)
        stopper = threading.Thread(target=_when_begun, args=(Run(tmp_path, "long", long), lambda: _kill(workers)))
        stopper.start()
        with pytest.raises(ValueError, match=r"long: its process ended with status -9; the end of .*heads.log"):
            workers.finish([Run(tmp_path, "long", long)])
        stopper.join()


def test_asked_to_stop_it_goes_on_later(pretrained, tmp_path):
    run = Run(tmp_path, "long", _long(pretrained))
    stopper = threading.Thread(target=_when_begun, args=(run, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    stopper.start()
    with HeadWorkers(TWO, START, tmp_path) as workers, pytest.raises(KeyboardInterrupt, match="same command goes on"):
        workers.finish([run])
    stopper.join()
    assert not run.finished
    assert all(worker.process.poll() is not None for worker in workers.workers)


def _long(experiment):
    transfer = experiment.transfer
    return replace(experiment, transfer=replace(transfer, head=replace(transfer.head, steps=10_000_000)))


def _when_begun(run, then):
    while not (run.path / "data.json").exists():
        time.sleep(0.05)
    then()


def _kill(workers):
    workers.workers[0].process.kill()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"stages": ("closed_form",)},
            "transfer.stages: found closed_form with 3 steps of the head, expected",
        ),
        ({"minutes": 5.0}, "minutes: found 5, expected none"),
    ],
)
def test_refusals(pretrained, changes, message):
    with pytest.raises(ValueError, match=message):
        for_heads(replace(pretrained, transfer=replace(pretrained.transfer, **changes)))


def test_the_network_is_no_stage_of_a_comparison(pretrained):
    stages = ("closed_form", "head", "network")
    found = for_heads(replace(pretrained, transfer=replace(pretrained.transfer, stages=stages)))
    assert found == for_heads(pretrained)


def test_the_start_is_chosen_once_and_read_again(pretrained, tmp_path, monkeypatch):
    judged = Judgement({}, [], 0.3, None)
    monkeypatch.setattr("circlet.compare.start.HeadRuns.choose_start", lambda heads, experiment: judged)
    found = find_start(pretrained, tmp_path, torch.device("cpu"))
    assert found.shrinkage == 0.3
    for metrics, classes in ((found.closed_form, found.closed_form_classes), (found.frozen, found.frozen_classes)):
        assert np.mean([values["map@r"] for values in classes.values()]) == pytest.approx(metrics["map@r"])
    assert found.closed_form != found.frozen
    monkeypatch.setattr("circlet.compare.start.frozen_network", None)
    assert find_start(pretrained, tmp_path, torch.device("cpu")) == found
    without = replace(pretrained, transfer=replace(pretrained.transfer, stages=("head",)))
    monkeypatch.undo()
    plain = find_start(without, tmp_path, torch.device("cpu"))
    assert (plain.shrinkage, plain.closed_form) == (None, None)
    assert plain.frozen == found.frozen


def test_the_command(made, pretrained, monkeypatch, capsys, no_processes):
    plan, folder, _ = made
    result = compare(plan, folder, TWO)
    monkeypatch.setitem(RECIPES, "folder", lambda: pretrained)
    arguments = ["folder", "--losses", "circle:pair:gamma=32", "am_softmax", "triplet", "--seeds", "2", "--search", "2",
                 "--search-steps", "2", "--validation-share", "0.34", "--out", str(folder)]  # fmt: skip
    assert main(["compare", *arguments]) == 0
    out = capsys.readouterr().out
    assert markdown(result) in out
    assert verdicts_markdown(result) in out
    assert verdicts_markdown(result) in (folder / "comparison.md").read_text()
    assert (folder / "comparison.csv").read_text() == csv_text(result)


def test_default_losses_of_heads_are_all_there_is_to_compare():
    assert len(LOSSES_OF_HEADS) == len({parse_contender(text).label for text in LOSSES_OF_HEADS}) == 11
    assert {len(candidates(parse_contender(text), 8)) for text in LOSSES_OF_HEADS} == {8}
