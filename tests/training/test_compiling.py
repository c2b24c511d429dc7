"""A compiled network trains like the plain one, is chosen by measuring, and what does not go with it is refused."""

from functools import partial

import pytest
import torch
from torch import nn

from circlet.training import LoopConfig, load
from circlet.training import step as steps_of
from circlet.training.compiling import CannotCompileError, Passes, compiler_missing, measured, prepare, tried
from tests.training.test_loop import same_state
from tests.training.tiny import run

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        # No bias before a norm: its gradient is rounding alone, which Adam makes large.
        self.backbone = nn.Sequential(nn.Linear(12, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, 8)

    def forward(self, x):
        return self.head(self.backbone(x))


@pytest.fixture
def fake(monkeypatch):
    """In place of the compiler: the network as it is, called through a wrapper, as torch's is; notes what is called."""
    calls = []

    class Wrapper(nn.Module):
        def __init__(self, model, device):
            super().__init__()
            self._orig_mod = model

        def forward(self, x):
            calls.append(len(x))
            return self._orig_mod(x)

    monkeypatch.setattr("circlet.training.compiling.compiled", Wrapper)
    monkeypatch.setattr(steps_of, "compiled", Wrapper)
    return calls


def taking(monkeypatch, plain, compiled):
    monkeypatch.setattr(steps_of, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr("circlet.training.compiling.measured", lambda *_: Passes(plain, compiled, 30.0))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # of inductor
def test_compiled_it_trains_as_ever_and_its_checkpoint_is_anybodys(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.training.tiny.Net", Net)  # without dropout, whose numbers are others
    settings = {"steps": 9, "precision": "fp32"}
    calls = iter(range(100))

    def dying(points, labels):
        if next(calls) == 9:  # with one to prepare it, in the eighth step
            raise KeyboardInterrupt
        return points, labels

    plain, _, _ = run(tmp_path / "plain", augment=None, compile="no", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", augment=dying, compile="yes", **settings)
    state = load(tmp_path / "cut" / "last.pt")
    assert (state["step"], state["compiled"]) == (7, True)
    assert state["model"].keys() == plain.state_dict().keys()
    resumed, _, folder = run(tmp_path / "cut", augment=None, **settings)  # auto: as before
    assert load(folder.last)["compiled"] is True
    assert_close(resumed, plain)
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="aot_eager"))  # traces as much, in less time
    chunked, _, _ = run(tmp_path / "chunked", augment=None, compile="yes", chunk=16, **settings)
    assert_close(chunked, plain)


def assert_close(found, expected):
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"chunk": 8}])
def test_its_wrapper_changes_nothing(tmp_path, fake, settings):
    plain, _, one = run(tmp_path / "plain", compile="no", **settings)
    assert not fake
    wrapped, _, other = run(tmp_path / "wrapped", compile="yes", **settings)
    assert len(fake) > 30
    assert same_state(dict(plain.state_dict()), dict(wrapped.state_dict()))
    assert load(one.last)["compiled"] is False
    assert load(other.last)["compiled"] is True


def test_a_short_run_measures_nothing(tmp_path, fake):
    _, _, folder = run(tmp_path / "run")
    assert not fake
    assert load(folder.last)["compiled"] is False


def test_before_the_fifth_step_nothing_is_settled(tmp_path, fake):
    _, _, folder = run(tmp_path / "run", steps=4)
    assert load(folder.last)["compiled"] is None


@pytest.mark.parametrize(("seconds", "words"), [(0.5, "compiled from here on"), (0.99, "left as it is")])
def test_a_long_run_does_what_is_faster_and_so_when_resumed(tmp_path, fake, monkeypatch, capsys, seconds, words):
    taking(monkeypatch, 1.0, seconds)
    run(tmp_path / "run", steps=20)
    told = capsys.readouterr().err
    assert f"loop.compile: forward and backward take 1 s, compiled {seconds:g} s (30 s to compile): {words}" in told
    assert len(fake) == (15 if seconds < 0.9 else 0)
    taking(monkeypatch, 1.0, 2.0 - seconds)  # would now be chosen otherwise
    fake.clear()
    run(tmp_path / "run", steps=30)
    assert len(fake) == (11 if seconds < 0.9 else 0)  # one to prepare it
    assert "forward and backward" not in capsys.readouterr().err


def test_nothing_is_tried_while_the_backbone_is_frozen(tmp_path, fake, monkeypatch):
    from circlet.training import OptimizerConfig

    taking(monkeypatch, 1.0, 0.5)
    run(tmp_path / "run", steps=20, optimizer=OptimizerConfig(freeze_backbone=12))
    assert len(fake) == 8


def test_measuring_leaves_nothing_behind():
    model, images = Net().train(), torch.randn(8, 12)
    tensors = list(model.buffers())
    before = [tensor.clone() for tensor in tensors]
    found = measured(model, model, images, torch.float32)
    assert min(found) > 0
    assert all(map(torch.equal, before, model.buffers()))
    assert all(one is other for one, other in zip(tensors, model.buffers(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_cannot_be_compiled_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiler_missing(CPU) == "found no C++ compiler (no-such-compiler), expected one (CXX names another)"
    with pytest.raises(ValueError, match=r"^loop\.compile: found no C\+\+ compiler \(no-such-compiler\), [^\n]*or no$"):
        run(tmp_path / "run", compile="yes")
    monkeypatch.setattr(steps_of, "LEAST_SECONDS", 0.0)
    run(tmp_path / "other")
    assert "(no-such-compiler), expected one (CXX names another), or no; left as it is\n" in capsys.readouterr().err


def test_an_error_of_the_compiler_is_one_line(monkeypatch, fake):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("backend='inductor' raised:\nAssertionError: and\nmuch more")

    words = r"^loop\.compile: found a network that cannot be compiled \(RuntimeError: backend='inductor' raised:\), "
    with pytest.raises(CannotCompileError, match=words + "expected auto or no$"):
        prepare(Broken(), torch.randn(2, 12), torch.float32)
    monkeypatch.setattr("circlet.training.compiling.compiled", lambda model, device: Broken())
    network, told = tried(Net(), torch.randn(2, 12), torch.float32)
    assert network is None
    assert told.endswith("expected auto or no; left as it is")


def test_a_run_begun_compiled_goes_on_where_there_is_no_compiler(tmp_path, fake, monkeypatch, capsys):
    run(tmp_path / "run", steps=10, compile="yes")

    def without(model, device):
        raise CannotCompileError("loop.compile: found none, expected one, or no")

    monkeypatch.setattr(steps_of, "compiled", without)
    run(tmp_path / "run", steps=20)
    assert "or no; the run was begun compiled, and goes on as it is" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fsdp", "grad_checkpointing"])
def test_what_does_not_go_with_it_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"^loop\.compile: found yes with loop\.{name}, expected auto or no"):
        LoopConfig(compile="yes", **{name: True})
    assert LoopConfig(**{name: True}).compile == "auto"
