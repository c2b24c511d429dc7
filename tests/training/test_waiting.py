"""How long is waited for batches is counted, told once, and kept."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from circlet.data import ImageSet
from circlet.data.pixels import Pixels
from circlet.training import load
from circlet.training.batches import LoaderBatches
from circlet.training.image_batches import faster_decoding
from circlet.training.waiting import Waiting, faster, notes, sentence, waited
from tests.training.tiny import Batches, run

CPU = torch.device("cpu")


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("circlet.training.waiting.time", SimpleNamespace(monotonic=lambda: self.now))

    def batches(self, count, seconds):
        for number in range(count):
            self.now += seconds
            yield torch.tensor([number]), torch.tensor([number])


def test_the_time_between_steps_is_counted_but_for_the_first_batch(monkeypatch):
    clock, waiting = Clock(monkeypatch), Waiting(CPU)
    found = []
    for images, _ in waiting.timed(clock.batches(5, 2.0)):
        found.append(int(images))
        clock.now += 10.0
    assert found == [0, 1, 2, 3, 4]
    assert waiting.seconds == 8.0
    assert waiting.share(60.0) == pytest.approx(8 / 60)
    assert waiting.share(100.0) is None  # less than a tenth
    again = Waiting(CPU)
    again.load_state_dict(waiting.state_dict())
    assert again.share(60.0) == waiting.share(60.0)
    assert list(Waiting(CPU).timed([])) == []


def test_a_few_seconds_are_not_worth_a_word():
    waiting = Waiting(CPU)
    waiting.seconds = 4.9
    assert waiting.share(5.0) is None


class Event:
    """Of a GPU: `done` by then, at a time in milliseconds."""

    def __init__(self, time_ms, done=True):
        self.time_ms, self.done = time_ms, done

    def query(self):
        return self.done

    def elapsed_time(self, other):
        return other.time_ms - self.time_ms


def test_a_gpu_that_is_still_at_work_is_not_waiting(monkeypatch):
    waiting = Waiting(CPU)
    ends = iter([Event(1000), Event(1500), Event(2000), Event(2500), Event(3000, done=False), Event(9000, done=False)])
    monkeypatch.setattr(waiting, "_mark", lambda: next(ends))
    for seconds in (3.0, 0.2, 7.0):  # the device: .5 s, .5 s, and it has not come so far
        before = waiting._mark()
        waiting.device = torch.device("cuda")
        waiting._note(before, seconds)
    assert waiting.seconds == pytest.approx(0.5 + 0.2)


class Slow(Batches):
    faster = "a faster disk"

    def epoch(self, epoch, start_batch):
        for batch in super().epoch(epoch, start_batch):
            time.sleep(0.02)
            yield batch


def test_a_slow_loader_is_told_of_once_and_at_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("circlet.training.waiting.NOTICED_SECONDS", 0.1)
    _, _, folder = run(tmp_path / "run", batches=Slow(), steps=45)
    told = [line for line in capsys.readouterr().err.splitlines() if "waited" in line]
    assert len(told) == 1
    assert told[0].startswith("The training waited for its batches ")
    assert told[0].endswith(" %% of the time; faster: a faster disk.".replace("%%", "%"))
    last = folder.read_metrics()[-1]
    assert last.keys() == {"step", "waited_share"}
    assert 0.1 < last["waited_share"] <= 1
    assert waited(folder.read_metrics()) == {"waited_share": last["waited_share"]}
    assert load(folder.last)["waiting"]["seconds"] > 0.1


def test_of_a_training_that_went_on_the_last_word_counts():
    lines = [{"step": 2, "loss": 1.0}, {"step": 2, "waited_share": 0.3}, {"step": 4, "loss": 1.0}]
    assert waited(lines) == {}
    assert notes(waited(lines[:2]), "x") == (sentence(0.3, "x"),)
    assert notes({}, "x") == ()


def test_what_to_change_is_what_the_batches_say():
    loader = DataLoader(TensorDataset(torch.zeros(4), torch.zeros(4)), num_workers=0)
    assert faster(LoaderBatches(loader, 0)) == "num_workers above 0 of the DataLoader"
    assert faster(LoaderBatches([(torch.zeros(1), torch.zeros(1))], 0)) == "batches that are made in less time"
    assert faster(Slow()) == "a faster disk"


@pytest.mark.parametrize(("workers", "words"), [(0, "--data.workers 1 (found 0 workers on 4 cores)"),
                                                (2, "--data.workers 4 (found 2 workers"),
                                                (3, "--data.workers 4 (found 3 workers"),
                                                (4, "more cores (found 4 workers on 4 cores)")])  # fmt: skip
def test_no_more_workers_than_cores_are_asked_for(monkeypatch, workers, words):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    images = ImageSet(np.zeros(1, dtype=np.int64), ("a",), ("a.jpg",), lambda index: None)
    found = faster_decoding(Pixels(images, None, None, workers))
    assert found.startswith(words)
    assert found.endswith("or --data.in-memory where they fit")
    assert "in-memory" not in faster_decoding(Pixels(images, None, None, workers), may_keep=False)
    assert faster_decoding(Pixels(images, torch.zeros(1), None)) == "smaller images"
