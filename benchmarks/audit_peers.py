"""The public implementations that `audit.py` asks: their files from checkouts as they are, and how each is called.

Nothing of theirs is copied here. Only what keeps a file from being imported or from running on a CPU is put in its way:
a stub for a settings module, `torch.eye(device="cuda")` on the CPU.
"""

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

MARGIN = 0.25
Loss = Callable[[Tensor, Tensor], Tensor]  # embeddings, labels -> a scalar
ClassLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # embeddings, labels, class weights


def module(path: Path, **stubs: Any) -> Any:
    """A file of a checkout as a module; `stubs` stand for what it imports and does not need."""
    spec = importlib.util.spec_from_file_location(f"peer_{abs(hash(path))}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    made = {name.replace("__", "."): stub for name, stub in stubs.items()}
    with patch.dict(sys.modules, made):
        spec.loader.exec_module(found)
    return found


def on_cpu(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same without the device that is written into a file."""
    return lambda *arguments, device=None, **others: call(*arguments, **others)


def implementations(peers: Path) -> Iterator[tuple[str, str, str, Callable[[float], Any]]]:
    """(name, source, level, gamma -> loss) of those that are there; embeddings are given as unit rows."""
    unit = nn.functional.normalize
    ce = nn.functional.cross_entropy
    if importlib.util.find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning.losses import CircleLoss

        source = f"pytorch-metric-learning {version('pytorch-metric-learning')}"
        yield "`losses.CircleLoss`", source, "pair", lambda g: CircleLoss(m=MARGIN, gamma=g)
    if (path := peers / "JDAI-CV/fast-reid/fastreid/modeling/losses/circle_loss.py").is_file():
        found = module(path)
        yield ("`pairwise_circleloss`", "JDAI-CV/fast-reid c9bc3ce", "pair",
               lambda g, found=found: lambda x, y: found.pairwise_circleloss(x, y, MARGIN, g))  # fmt: skip
        softmax = module(peers / "JDAI-CV/fast-reid/fastreid/layers/any_softmax.py").CircleSoftmax
        yield ("`CircleSoftmax` + cross-entropy", "JDAI-CV/fast-reid c9bc3ce", "class",
               lambda g: lambda x, y, w: ce(softmax(len(w), g, MARGIN)(unit(x) @ unit(w).T, y), y))  # fmt: skip
    if (path := peers / "TinyZeaMays/CircleLoss/circle_loss.py").is_file():
        tiny = module(path)
        early = module(path.with_name("circle_loss_early.py"))
        yield (
            "`CircleLoss`",
            "TinyZeaMays/CircleLoss d002ecd",
            "pair",
            lambda g: lambda x, y: tiny.CircleLoss(MARGIN, g)(*tiny.convert_label_to_similarity(unit(x), y)),
        )
        yield ("`CircleLossLikeCE`", "TinyZeaMays/CircleLoss d002ecd", "class",
               lambda g: lambda x, y, w: early.CircleLossLikeCE(MARGIN, g)(unit(x) @ unit(w).T, y))  # fmt: skip
    if (path := peers / "qianjinhao/circle-loss/circle_loss.py").is_file():
        exponentials = module(path)
        yield ("`CircleLoss`", "qianjinhao/circle-loss 55a6035", "pair",
               lambda g: exponentials.CircleLoss(scale=g, margin=MARGIN))  # fmt: skip
    if (path := peers / "mangye16/ReID-Survey/losses/circle_loss.py").is_file():
        survey = module(path)

        def surveyed(g: float) -> Loss:
            def loss(x: Tensor, y: Tensor) -> Tensor:
                with patch.object(torch, "eye", on_cpu(torch.eye)), patch.object(torch, "zeros", on_cpu(torch.zeros)):
                    return survey.CircleLoss(MARGIN, g)(x, y, x.T, y)

            return loss

        yield "`CircleLoss`", "mangye16/ReID-Survey a8b5f1e", "pair", surveyed
    if (path := peers / "qdrant/quaterion/quaterion/loss/circle_loss.py").is_file():
        yield "`CircleLoss`", "qdrant/quaterion db4f455", "pair", quaterion(path)
    if (path := peers / "JDAI-CV/FaceX-Zoo/head/CircleLoss.py").is_file():
        zoo = module(path)
        yield "`CircleLoss` + cross-entropy", "JDAI-CV/FaceX-Zoo 16b793a", "class", with_weights(
            lambda g, w: zoo.CircleLoss(w.shape[1], len(w), MARGIN, g), transposed=True, then=ce)  # fmt: skip
    if (path := peers / "cavalleria/cavaface/head/metrics.py").is_file():
        face = module(path, config=types.SimpleNamespace(configurations={1: {}}))
        yield (
            "`CircleLoss` + softplus",
            "cavalleria/cavaface 822651f",
            "class",
            with_weights(
                lambda g, w: face.CircleLoss(w.shape[1], len(w), MARGIN, g),
                then=lambda out, y: nn.functional.softplus(out).mean(),
            ),
        )


def quaterion(path: Path) -> Callable[[float], Loss]:
    """Its file needs its package, whose first import is PyTorch Lightning: the parts that the loss uses are enough."""
    root = path.parents[1]
    package = {name: types.ModuleType(name) for name in ("quaterion", "quaterion.loss")}
    for name, each in package.items():
        each.__path__ = [str(root.parent / name.replace(".", "/"))]  # type: ignore[attr-defined]
    with patch.dict(sys.modules, package):
        found = importlib.import_module("quaterion.loss.circle_loss")
    return lambda g: found.CircleLoss(margin=MARGIN, scale_factor=g)


def with_weights(make: Any, *, then: Any, transposed: bool = False) -> Callable[[float], ClassLoss]:
    """A head that has class weights of its own, given ours."""

    def for_scale(g: float) -> ClassLoss:
        def loss(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
            head = make(g, w).to(w.dtype)
            head.weight.data = w.T.clone() if transposed else w.clone()
            return then(head(x, y), y)

        return loss

    return for_scale
