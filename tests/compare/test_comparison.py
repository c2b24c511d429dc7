"""A comparison from start to end, in processes of its own; what it refuses; how it goes on.

`test_extensions.py` has one in processes that start as a user's do.
"""

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import replace
from math import nan

import numpy as np
import pytest

from circlet import CircleLoss
from circlet.cli import main
from circlet.compare import Machine, Plan, build_page, compare, csv_text, markdown, parse_contender, runs
from circlet.compare.comparison import _best
from circlet.compare.one_run import stop_without, without_test_classes
from circlet.compare.runs import Run, finish
from circlet.experiments import LossConfig, build_splits
from circlet.recipes import RECIPES
from circlet.training import RunFolder
from circlet.training.stop import stop_requests
from tests.compare.conftest import start_forked

pytestmark = pytest.mark.subprocess
TWO = Machine(jobs=2)


def contenders(*texts):
    return tuple(map(parse_contender, texts))


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """Two losses, two seeds, and a search for one of them: six processes, started as a test's."""
    plan = Plan(tiny, contenders("circle:pair:gamma=32", "am_softmax"), seeds=2, search=2, search_steps=2,
                validation_share=0.34)  # fmt: skip
    folder = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_start", start_forked)
        return plan, folder, compare(plan, folder, TWO)


@pytest.fixture
def no_processes(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a finished run was made again")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_every_loss_and_seed_is_there_with_its_costs(made):
    _, folder, result = made
    assert [entry.label for entry in result.entries] == ["circle:pair:gamma=32", "am_softmax:class"]
    assert result.seeds == [0, 1]
    for entry in result.entries:
        assert [len(part) for part in (entry.test, entry.cost, entry.loss_curve)] == [2, 2, 2]
        assert [step for step, _ in entry.loss_curve[0]] == [1, 2, 3, 4]
        assert entry.values("map@r") == [test["map@r"] for test in entry.test]
        for cost in entry.cost:
            assert cost["cpu_seconds"] > 0
            assert cost["train_seconds"] > 0
            assert cost["peak_memory_mib"] > 100  # torch alone
            assert [cost[name] for name in ("threads", "sessions", "jobs", "device")] == [1, 1, 2, "cpu"]
        assert entry.diverged == [None, None]
    circle, am = (entry.values("map@r") for entry in result.entries)
    assert result.difference(result.entries[1], "map@r").mean == pytest.approx(np.mean(am) - np.mean(circle))
    assert result.difference(result.entries[0], "map@r") == (0, 0, 0)
    assert len(list((folder / "runs").glob("*/result.json"))) == 4


def test_all_is_alike_but_loss_and_seed(made):
    _, folder, _ = made
    configs = [json.loads(path.read_text()) for path in (folder / "runs").glob("*/config.json")]
    assert {(c["loss"]["name"], c["loop"].pop("seed")) for c in configs} == {
        (name, seed) for name in ("circle", "am_softmax") for seed in (0, 1)
    }
    for config in configs:
        del config["loss"]
    assert all(config == configs[0] for config in configs)


def test_settings_are_chosen_on_validation_classes(made):
    _, folder, result = made
    circle, am = result.entries
    assert (circle.candidates, circle.chosen_by) == ([], "given")
    assert [tried.settings for tried in am.candidates] == ["margin 0.35, gamma 64", "margin 0.35, gamma 16"]
    assert am.settings == max(am.candidates, key=lambda tried: tried.map_at_r).settings
    searched = list((folder / "search").glob("*/result.json"))
    assert not list((folder / "search").glob("*/*.pt"))
    assert len(searched) == 2
    for path in searched:
        found = json.loads(path.read_text())
        assert (found["train_classes"], found["test_classes"]) == (4, 2)  # of the six training classes
        assert len((path.parent / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("verb", [["report"], ["evaluate"], ["embed"], ["train", "--resume"]])
def test_a_run_of_the_search_is_not_taken_for_another(made, verb, capsys):
    """Its configuration is that of a run with test classes, which it must not come to see."""
    _, folder, _ = made
    searched = next((folder / "search").glob("*/result.json")).parent
    assert main([*verb, str(searched)]) == 1
    assert "found a run of the search of circlet compare, tested on 34% of its training" in capsys.readouterr().err
    assert not (searched / "report.html").exists()


def test_a_final_run_has_a_report(made, tmp_path):
    _, folder, result = made
    run = next((folder / "runs").glob("am_softmax*seed-1*/result.json")).parent
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"<td>{result.entries[1].test[1]['map@r']:.3f}</td>" in page
    assert "Pairs during training" in page


def test_the_search_never_sees_a_test_class(tiny):
    splits = build_splits(tiny.data)
    searched = without_test_classes(splits, 0.34)
    seen = {*searched.train.class_names, *searched.query.class_names}
    assert seen == set(splits.train.class_names)
    assert not seen & set(splits.query.class_names)
    assert searched.gallery is None


def test_tables(made):
    _, _, result = made
    rows = list(csv.DictReader(io.StringIO(csv_text(result))))
    assert [(row["loss"], row["seed"]) for row in rows] == [
        (label, seed) for label in ("circle:pair:gamma=32", "am_softmax:class") for seed in "01"
    ]
    assert float(rows[3]["map@r"]) == pytest.approx(result.entries[1].test[1]["map@r"], abs=1e-6)
    lines = markdown(result).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert f"{np.mean(result.entries[0].values('recall@1')):.4f} ± " in lines[3]
    assert "baseline" in lines[3]


def test_page_is_whole_and_says_what_it_rests_on(made):
    _, _, result = made
    page = build_page(result, ["circlet", "compare", "--out", "<script>"])
    assert "<script" not in page
    assert not re.search(r"https?:", re.sub(r"base64,[^\"]+", "", page))
    assert page.count("data:image/png;base64,") == 2
    for text in ("2 at once, 1 CPU thread each, on cpu", "the recipe scratch, which was made for circle loss at level",
                 "2 seeds: the intervals rest on 2 runs", "were not searched", "34% of the training classes",
                 "paired by seed", "gamma 32", "6 classes that no run"):  # fmt: skip
        assert text in page


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1200])
def test_page_opens_from_disk_and_fits(made, opened, tmp_path, width):
    (tmp_path / "page.html").write_text(build_page(made[2], ["circlet", "compare", "--out", "a" * 200]))
    visit = opened(tmp_path / "page.html", width=width)
    visit.expect_clean()
    assert visit.fits()
    assert visit.page.locator("img").evaluate_all("all => all.every(image => image.naturalWidth > 500)")


def test_other_tasks_show_their_own_metrics(made):
    _, _, result = made
    found = {"rank-1": 0.9, "rank-5": 0.95, "mAP": 0.8, "mINP": 0.5}
    entries = [entry._replace(test=[found, found]) for entry in result.entries]
    reid = result._replace(entries=entries, raw_pixels=found)
    assert reid.headline == ["rank-1", "mINP", "mAP"]
    assert markdown(reid).startswith("| loss | rank-1 | mINP | mAP | mAP, difference to circle:pair:gamma=32 |")
    assert "mAP against circle:pair:gamma=32" in build_page(reid, ["circlet"])


def test_finished_runs_are_read(made, no_processes):
    plan, folder, result = made
    assert compare(plan, folder, TWO).entries == result.entries
    fewer = compare(replace(plan, seeds=1), folder, TWO)
    assert fewer.entries[1].test == result.entries[1].test[:1]
    assert "no difference can be told from chance" in build_page(fewer, ["circlet"])


def lost(entry, seed):
    """The same entry with a run that diverged."""
    parts = {name: list(getattr(entry, name)) for name in ("test", "cost", "loss_curve", "diverged")}
    parts["test"][seed], parts["loss_curve"][seed], parts["diverged"][seed] = {}, [], "step 1: the loss is <inf>"
    parts["cost"][seed] = {**parts["cost"][seed], "train_seconds": nan}
    return entry._replace(**parts)


def test_a_loss_that_diverged_with_a_seed_is_shown_without_it(made):
    circle, am = made[2].entries
    result = made[2]._replace(entries=[circle, lost(am, 1)])
    last = markdown(result).splitlines()[-1]
    assert last.startswith("| am_softmax:class (diverged in 1 of 2) | ")
    assert f"| {am.test[0]['map@r']:.4f} | {am.test[0]['map@r'] - circle.test[0]['map@r']:+.4f} |" in last
    assert f"| {am.cost[0]['cpu_seconds']:.1f} |" in last
    assert "nan" not in last
    row = list(csv.DictReader(io.StringIO(csv_text(result))))[3]
    assert (row["map@r"], row["train_seconds"], row["diverged"]) == ("", "", "step 1: the loss is <inf>")
    page = build_page(result, ["circlet"])
    assert "Training diverged (loss or weights were no longer finite): am_softmax:class in 1 of 2." in page
    assert "without two seeds of which neither diverged: am_softmax:class" in page
    assert ">nan<" not in page


def test_a_baseline_that_always_diverged_leaves_no_difference(made):
    circle, am = made[2].entries
    result = made[2]._replace(entries=[lost(lost(circle, 0), 1), am])
    assert result.headline == made[2].headline
    assert math.isnan(result.difference(am, "map@r").mean)
    assert "diverged in 2 of 2" in markdown(result)
    assert "| – |" in markdown(result)
    assert "nan" not in csv_text(result)
    build_page(result, ["circlet"])


def test_runs_that_diverge_do_not_keep_the_others(tiny, tmp_path, capsys, forked):
    plan = Plan(tiny, contenders("circle:pair:gamma=32", "unified:pair:gamma=3e38"), seeds=1)
    result = compare(plan, tmp_path, TWO)
    assert result.entries[0].num_diverged == 0
    (reason,) = result.entries[1].diverged
    assert reason.startswith("step 1: the loss is")
    assert "unified:pair:gamma=3e38-seed-0: diverged (step 1" in capsys.readouterr().out
    assert "unified:pair:gamma=3e38 (diverged in 1 of 1)" in build_page(result, ["circlet"])
    (run,) = (tmp_path / "runs").glob("unified*/cost.json")
    before = run.read_text()
    assert compare(plan, tmp_path, TWO).entries[1].diverged == [reason]
    assert run.read_text() == before  # not made again
    with pytest.raises(ValueError, match=r"found that all runs diverged, such as unified.*: step 1: the loss is"):
        compare(Plan(tiny, contenders("unified:pair:gamma=3e38", "unified:pair:gamma=3.1e38"), seeds=1), tmp_path, TWO)


@pytest.mark.parametrize(
    ("scores", "winner"), [([nan, 0.2, nan, 0.3], 3), ([0.2, nan], 0), ([nan, nan], 0), ([0.2, 0.2], 0)]
)
def test_what_diverged_wins_no_search(scores, winner):
    losses = [LossConfig.of(CircleLoss(gamma=1.0 + i)) for i in range(len(scores))]
    assert _best(list(zip(losses, scores, strict=True))) is losses[winner]


def test_memory_of_a_gpu_and_metrics_of_faces_are_shown_where_they_are(made):
    assert "GPU memory" not in markdown(made[2]) + build_page(made[2], ["circlet"])
    entries = [
        entry._replace(
            cost=[{**cost, "peak_device_memory_mib": 1234.0} for cost in entry.cost],
            test=[{**test, "lfw": 0.99, "lfw std": 0.01} for test in entry.test],
        )
        for entry in made[2].entries
    ]
    result = made[2]._replace(entries=entries)
    assert result.headline[-2:] == ["lfw", "map@r"]
    lines = markdown(result).splitlines()
    assert lines[0].endswith("| memory, MiB | GPU memory, MiB |")
    assert lines[3].endswith("| 1234 |")
    assert len({line.count("|") for line in lines}) == 1
    assert "GPU memory, MiB" in build_page(result, ["circlet"])
    assert next(csv.DictReader(io.StringIO(csv_text(result))))["peak_device_memory_mib"] == "1234.00"


def test_how_runs_were_made_is_what_they_say(made):
    facts = {**made[2].facts, "jobs": [1, 4], "threads": [2], "device": ["cpu", "cuda:0"]}
    page = build_page(made[2]._replace(facts=facts), ["circlet"])
    assert "1 to 4 at once, 2 CPU threads each, on cpu and cuda:0" in page
    assert "Several runs shared the machine" in page
    old = {**made[2].facts, "jobs": [], "threads": [], "device": []}
    assert "means of a run: training" in build_page(made[2]._replace(facts=old), ["circlet"])


def test_a_session_that_is_killed_counts(tiny, tmp_path, forked):
    long = replace(tiny, loop=replace(tiny.loop, steps=100_000, checkpoint_every=100_000))
    run = Run(tmp_path, "long", long)
    process = start_forked(run, TWO)
    lines = run.path / "metrics.jsonl"
    while not (lines.is_file() and lines.stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    cost = RunFolder(run.path).read_json("cost.json")
    assert (cost["finished"], cost["sessions"]) == (False, 1)
    short = Run(tmp_path, "long", replace(long, loop=replace(long.loop, steps=2)))
    run.path.rename(short.path)
    finish([short], Machine(jobs=1))
    cost = RunFolder(short.path).read_json("cost.json")
    assert (cost["finished"], cost["sessions"], cost["jobs"]) == (True, 2, 2)


def test_other_settings_are_other_runs(tiny, tmp_path):
    run = Run(tmp_path, "a", tiny)
    others = [
        Run(tmp_path, "a", replace(tiny, loop=replace(tiny.loop, steps=5))),
        Run(tmp_path, "a", replace(tiny, batch=replace(tiny.batch, samples=2))),
        Run(tmp_path, "a", tiny, validation_share=0.2),
    ]
    assert len({run.path, *(other.path for other in others)}) == 4


def test_an_interrupted_comparison_goes_on(tiny, tmp_path, forked):
    long = replace(tiny, loop=replace(tiny.loop, steps=100_000, checkpoint_every=100_000))
    run = Run(tmp_path, "long", long)

    def stop():
        lines = run.path / "metrics.jsonl"
        while not (lines.is_file() and lines.stat().st_size):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        finish([run], TWO)
    stopper.join()
    assert (run.path / "last.pt").is_file()
    assert not run.finished
    before = (run.path / "metrics.jsonl").read_text()
    # The rest of a shorter run in the same folder: its settings are read from us, its state from the folder.
    steps = len(before.splitlines()) + 2
    shorter = Run(tmp_path, "long", replace(long, loop=replace(long.loop, steps=steps)))
    run.path.rename(shorter.path)
    finish([shorter], TWO)
    assert shorter.finished
    assert (shorter.path / "metrics.jsonl").read_text().startswith(before)
    cost = RunFolder(shorter.path).read_json("cost.json")
    assert cost["sessions"] == 2
    assert cost["wall_seconds"] > RunFolder(shorter.path).read_json("result.json")["train_seconds"]


def test_a_run_stops_where_the_comparison_was_killed():
    with stop_requests() as stop:
        watching = threading.Thread(target=stop_without, args=(os.getppid(), 0.01), daemon=True)
        watching.start()
        time.sleep(0.1)
        assert not stop.requested
        stop_without(-1)
        assert stop.requested


def test_a_run_that_fails_is_named_with_its_reason(tiny, tmp_path):
    gone = Run(tmp_path, "gone", replace(tiny, data=replace(tiny.data, root=tmp_path / "nowhere")))
    with pytest.raises(ValueError, match=r"gone: the run ended with status 1(.|\n)*nowhere"):
        finish([gone], TWO)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": 4, "validation_share": 0.0}, "validation_share: found 0.0 with search 4.*never on test classes"),
        ({"search": 4, "validation_share": 1.0}, "validation_share: found 1.0"),
        ({"search": -1}, "search: found -1"),
        ({"seeds": 0}, "seeds: found 0"),
        ({"baseline": "softmax:class"}, "baseline: found 'softmax:class', expected one of circle:pair"),
    ],
)
def test_refusals(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        Plan(tiny, contenders("circle", "triplet"), **options)


@pytest.mark.parametrize("texts", [(), ("circle",), ("circle", "circle:pair")])
def test_losses_are_two_or_more_and_each_once(tiny, texts):
    with pytest.raises(ValueError, match="losses: found"):
        Plan(tiny, contenders(*texts))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--search", "2", "--validation-share", "0"], "validation_share: found 0.0 with search 2"),
        (["faces"], "recipe: found 'faces', expected one of"),
        (["--losses", "circle", "circles"], "found 'circles'"),
        (["--loss.gamma", "3"], "loss: found --loss flags, expected the settings in --losses"),
        (["folder"], "data.root: found none"),
        (["--jobs", "0"], "jobs: found 0"),
    ],
)
def test_errors_of_the_command_leave_nothing_behind(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_its_three_files(made, tiny, monkeypatch, capsys, no_processes):
    _, folder, result = made
    monkeypatch.setitem(RECIPES, "scratch", lambda: tiny)
    arguments = ["scratch", "--losses", "circle:pair:gamma=32", "am_softmax", "--seeds", "2", "--search", "2",
                 "--search-steps", "2", "--validation-share", "0.34", "--out", str(folder)]  # fmt: skip
    assert main(["compare", *arguments]) == 0
    assert markdown(result) in capsys.readouterr().out
    assert (folder / "comparison.csv").read_text() == csv_text(result)
    assert "`circlet compare scratch --losses circle:pair:gamma=32" in (folder / "comparison.md").read_text()
    assert (folder / "comparison.html").read_text().startswith("<!doctype html>")
