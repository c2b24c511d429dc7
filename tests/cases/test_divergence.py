"""A run that diverged: the error names what is there, and `circlet suggest` says so, where, and what to try."""

from dataclasses import replace

import pytest
import torch

from circlet import CircleLoss
from circlet.advise import divergence, suggest_for
from circlet.cli import main
from circlet.experiments import Experiment, LossConfig
from circlet.training import RunFolder, fit
from tests.training.tiny import Batches, config, noise, parts


class InfiniteFrom(torch.nn.Module):
    def __init__(self, step):
        super().__init__()
        self.left = step

    def forward(self, embeddings, labels):
        self.left -= 1
        return embeddings.square().sum() * (1.0 if self.left > 0 else float("inf"))


@pytest.mark.parametrize(("step", "told"), [(2, r"\(no checkpoint yet\)"), (5, r"\(last checkpoint: .*last.pt\)")])
def test_the_error_names_only_a_checkpoint_that_is_there(tmp_path, step, told):
    folder = RunFolder.create(tmp_path / "run", {})
    with pytest.raises(FloatingPointError, match=told):
        fit(parts()[0], InfiniteFrom(step), Batches(), config(log_every=1, checkpoint_every=3), folder,
            device=torch.device("cpu"), augment=noise)  # fmt: skip
    assert folder.last.exists() == (step > 3)


def diverged(path, reason, lines=(), **changes):
    experiment = replace(Experiment(loss=LossConfig.of(CircleLoss(margin=0.4, gamma=32.0))), **changes)
    folder = RunFolder.create(path, experiment.to_json())
    folder.write_metrics(list(lines))
    folder.end_without_result(reason)
    return suggest_for(path)


REASON = "step 12: the loss is nan, expected a finite number; try a longer warm-up (no checkpoint yet)"


def test_suggest_says_that_a_run_diverged_where_and_what_to_try(tmp_path, capsys):
    (found,) = diverged(tmp_path / "run", REASON, [{"step": 10, "loss": 30.0}])
    assert found.problem == "the training diverged"
    assert found.evidence == "step 12: the loss is nan, expected a finite number; before it 30 at step 10"
    assert found.change == "--loop.optimizer.learning-rate 0.0002, with --loop.optimizer.warmup 0.1"
    assert main(["suggest", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "the training diverged" in out
    assert "nothing to change" not in out


def test_suggest_names_the_precision_that_was_too_small(tmp_path):
    loop = replace(Experiment().loop, precision="fp16")
    assert diverged(tmp_path / "run", REASON, loop=loop)[0].change.startswith(
        "--loop.precision bf16, or fp32; or --loop"
    )


def test_suggest_names_a_gamma_without_measure(tmp_path):
    loss = LossConfig.of(CircleLoss(margin=0.4, gamma=1e30))
    (found,) = diverged(tmp_path / "run", "step 1: the loss is inf, expected a finite number", loss=loss)
    assert found.change.startswith("--loss.gamma 256 (the loss of random embeddings is ")


def test_suggest_does_not_name_the_gamma_that_the_run_has(tmp_path, monkeypatch):
    monkeypatch.setattr(divergence, "chance_loss", lambda *of: float("inf"))
    (found,) = diverged(tmp_path / "own", REASON, loss=LossConfig.of(CircleLoss()))
    assert "--loss.gamma" not in found.change
    found, *_ = diverged(tmp_path / "other", REASON, loss=LossConfig.of(CircleLoss(gamma=1.0)))
    assert "--loss.gamma 256" in found.change


def test_suggest_names_the_clipping_that_was_off_and_the_head(tmp_path):
    loop = Experiment().loop
    loop = replace(loop, optimizer=replace(loop.optimizer, clip_norm=None))
    (found,) = diverged(tmp_path / "run", "step 3 of the head: found a loss of nan", loop=loop)
    assert found.change == "--loop.optimizer.clip-norm 5; or --transfer.head.learning-rate 1e-05"
