"""The loop learns, resumes bit for bit, and stops clearly when something is wrong."""

import os
import signal

import pytest
import torch

from circlet.training import load
from tests.training.tiny import Batches, noise, run


def same_state(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_state(a[key], b[key]) for key in a if key != "seconds")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_state, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("level", ["pair", "class", "joint"])
def test_it_learns(tmp_path, level):
    _, _, folder = run(tmp_path / "run", level=level, steps=100)
    losses = [line["loss"] for line in folder.read_metrics()]
    assert losses[-1] < 0.5 * losses[0]
    assert [line["step"] for line in folder.read_metrics()] == list(range(5, 101, 5))


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [0, 3, 7, 8, 20, 29])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_killed_anywhere_and_resumed_ends_bitwise_like_the_uninterrupted_run(tmp_path, kill_at, name):
    from circlet.training import OptimizerConfig

    def validate(model):
        return {"score": float(model(torch.ones(2, 12)).sum().detach())}

    settings = {"optimizer": OptimizerConfig(name=name, learning_rate=1e-2), "validate": validate}
    whole, _, folder = run(tmp_path / "whole", **settings)
    calls = iter(range(1000))

    def dying(points, labels):
        if next(calls) == kill_at:
            raise Killed
        return noise(points, labels)

    with pytest.raises(Killed):
        run(tmp_path / "cut", augment=dying, **settings)
    resumed, _, cut = run(tmp_path / "cut", **settings)
    assert same_state(dict(whole.state_dict()), dict(resumed.state_dict()))
    for file in ("last", "best"):
        assert same_state(load(getattr(folder, file)), load(getattr(cut, file)))
    strip = [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_metrics()]
    assert strip == [{k: v for k, v in line.items() if k != "seconds"} for line in cut.read_metrics()]


def test_asked_to_stop_it_saves_the_step_it_is_at(tmp_path):
    calls = iter(range(1000))

    def asking(points, labels):
        if next(calls) == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return noise(points, labels)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 11; go on with: circlet train --resume"):
        run(tmp_path / "run", augment=asking)
    assert load(tmp_path / "run" / "last.pt")["step"] == 11
    assert signal.getsignal(signal.SIGTERM) == handler
    resumed, _, _ = run(tmp_path / "run")
    whole, _, _ = run(tmp_path / "whole")
    assert same_state(dict(whole.state_dict()), dict(resumed.state_dict()))


def test_finished_run_resumes_to_itself(tmp_path):
    first, _, _ = run(tmp_path / "run")
    again, _, _ = run(tmp_path / "run")
    assert same_state(dict(first.state_dict()), dict(again.state_dict()))


def test_best_checkpoint_follows_the_validation_metric(tmp_path):
    scores = iter([0.5, 0.9, 0.7])
    _, _, folder = run(tmp_path / "run", validate=lambda model: {"map@r": next(scores), "other": 0.0})
    assert load(folder.best)["step"] == 20
    assert load(folder.last)["step"] == 30
    validated = [line for line in folder.read_metrics() if "validation_map@r" in line]
    assert [line["validation_map@r"] for line in validated] == [0.5, 0.9, 0.7]


def test_without_validation_there_is_no_best_checkpoint(tmp_path):
    _, _, folder = run(tmp_path / "run")
    assert not folder.best.exists()


def test_nan_in_the_images_is_found(tmp_path):
    batches = Batches()
    batches.points[5] = float("nan")
    with pytest.raises(ValueError, match="embeddings: found NaN or infinity"):
        run(tmp_path / "run", batches=batches)


@pytest.mark.parametrize(("log_every", "found_at"), [(5, 5), (100, 6)])
def test_diverged_loss_names_the_step_and_is_not_saved(tmp_path, log_every, found_at):
    class InfiniteFromStep4(torch.nn.Module):
        steps = 0

        def forward(self, embeddings, labels):
            self.steps += 1
            return embeddings.square().sum() * (float("inf") if self.steps >= 4 else 1.0)

    from circlet.training import RunFolder, fit
    from tests.training.tiny import config, parts

    folder = RunFolder.create(tmp_path / "run", {})
    settings = config(log_every=log_every, checkpoint_every=3)
    with pytest.raises(FloatingPointError, match=rf"step {found_at}: the loss is (nan|inf), expected a finite number"):
        fit(parts()[0], InfiniteFromStep4(), Batches(), settings, folder, device=torch.device("cpu"), augment=noise)
    state = load(folder.last)
    assert state["step"] == 3
    assert all(value.isfinite().all() for value in state["model"].values())


def test_diverged_weights_are_told_from_bad_images(tmp_path):
    """After a step without end the embeddings are no numbers, and the loss would name them as bad input."""
    from circlet.training import OptimizerConfig

    endless = OptimizerConfig(name="sgd", learning_rate=1e38, warmup=0.0)
    with pytest.raises(FloatingPointError, match=r"step \d+: found NaN or infinity in embeddings or class weights"):
        run(tmp_path / "run", optimizer=endless, log_every=100, checkpoint_every=100)


@pytest.mark.parametrize("validate", [None, lambda model: {"map@r": 1.0}])
def test_diverged_weights_are_neither_saved_nor_validated(tmp_path, validate):
    class FiniteWithoutGradient(torch.nn.Module):
        def forward(self, embeddings, labels):
            return (0 * embeddings.square().sum()).sqrt()  # 0, of slope 0 / 0

    from circlet.training import RunFolder, fit
    from tests.training.tiny import config, parts

    folder = RunFolder.create(tmp_path / "run", {})
    with pytest.raises(FloatingPointError, match=r"step 1: found NaN or infinity in the weights"):
        fit(parts()[0], FiniteWithoutGradient(), Batches(), config(steps=1), folder, device=torch.device("cpu"),
            augment=noise, validate=validate)  # fmt: skip
    assert not folder.last.exists()
    assert not folder.best.exists()


def test_bf16_autocast_trains_and_fp16_on_a_cpu_is_refused(tmp_path):
    _, _, folder = run(tmp_path / "bf16", precision="bf16", steps=60)
    losses = [line["loss"] for line in folder.read_metrics()]
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match="precision: found fp16 on a CPU"):
        run(tmp_path / "fp16", precision="fp16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpu(tmp_path, precision):
    _, _, folder = run(tmp_path / "run", precision=precision, steps=100, device="cuda")
    losses = [line["loss"] for line in folder.read_metrics()]
    assert losses[-1] < losses[0]


def test_observed_numbers_join_the_lines(tmp_path):
    seen = []

    def observe(objective, embeddings, labels):
        assert not torch.is_grad_enabled()
        assert not embeddings.requires_grad
        seen.append(objective.level)
        return {"rows": len(labels), "again": float(objective(embeddings, labels))}

    plain, _, _ = run(tmp_path / "plain")
    model, _, folder = run(tmp_path / "run", observe=observe)
    lines = folder.read_metrics()
    assert [line["rows"] for line in lines] == [16] * 6
    assert seen == ["joint"] * 6
    assert all(line["again"] > 0 for line in lines)
    assert same_state(dict(plain.state_dict()), dict(model.state_dict()))


@pytest.mark.parametrize("level", ["pair", "class", "joint"])
def test_memory_bank_is_filled_and_checkpointed(tmp_path, level):
    _, objective, folder = run(tmp_path / "run", level=level, steps=3, memory=40)
    assert len(objective.bank) == 40
    state = load(folder.last)["objective"]
    assert torch.equal(state["bank.embeddings"], objective.bank.embeddings)
    assert state["bank._extra_state"] == {"num_seen": 48}
    expected = {"pair": 2, "class": 2, "joint": 3}[level]
    assert len(objective.sources()) == expected
    assert objective.sources()[-1] is objective.bank
    again, _, _ = run(tmp_path / "run", level=level, steps=3, memory=40)
    whole, _, _ = run(tmp_path / "whole", level=level, steps=3, memory=40)
    assert same_state(dict(again.state_dict()), dict(whole.state_dict()))


def test_sampled_class_weights(tmp_path):
    _, objective, folder = run(tmp_path / "run", level="class", sample=0.5, steps=60)
    assert objective.classes.sample_rate == 0.5
    losses = [line["loss"] for line in folder.read_metrics()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradient_cache_in_the_loop(tmp_path, precision):
    """Chunks as large as the batch change nothing, the running statistics neither: they move once."""
    whole, _, _ = run(tmp_path / "whole", precision=precision, steps=5)
    chunked, _, _ = run(tmp_path / "chunked", precision=precision, steps=5, chunk=16)
    for (name, a), b in zip(whole.state_dict().items(), chunked.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    with pytest.raises(ValueError, match="chunk: found -1"):
        run(tmp_path / "bad", chunk=-1)


def test_checkpoint_with_the_optimiser_of_other_parameters(tmp_path):
    from circlet.training import OptimizerConfig

    run(tmp_path / "run", steps=2)
    with pytest.raises(ValueError, match=r"last.pt: holds the optimiser of other parameters"):
        run(tmp_path / "run", steps=2, optimizer=OptimizerConfig(freeze_batchnorm=True))


@pytest.mark.parametrize("name", ["steps", "log_every", "checkpoint_every", "validate_every"])
def test_counts_are_at_least_one(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}: found 0, expected at least 1"):
        run(tmp_path / "run", **{name: 0})
