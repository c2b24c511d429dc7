"""What to change in a run, from what it has logged: few rules, each with its evidence and the flags to turn.

Every rule was seen to speak on a short run made with its fault and to be silent on sound ones, whose logs tests keep.
MAP@R on unseen glyphs after 60 steps (nothing_left and overfitted: 300 steps on five classes), one run each:

| rule         | run with the fault          | MAP@R | changed as told              | MAP@R |
|--------------|-----------------------------|-------|------------------------------|-------|
| small_gamma  | Circle, gamma 1             | 0.207 | gamma 32                     | 0.365 |
| loose_margin | Circle, m = 0.9             | 0.231 | m = 0.4                      | 0.365 |
|              | unified, m = -0.5           | 0.278 | m = 0.35                     | 0.370 |
| above_chance | Circle, SGD at 0.1          | 0.246 | SGD at 0.01                  | 0.372 |
| crowded      | Circle, AdamW at 0.1        | 0.312 | AdamW at 0.01, warm-up 0.1   | 0.366 |
| hardly_moved | Circle, AdamW at 1e-5       | 0.238 | AdamW at 3e-3                | 0.365 |
|              | Circle, class weights       | 0.056 | 240 steps                    | 0.285 |
| nothing_left, overfitted | no augmentation | 0.401 | augmentation                 | 0.423 |

What other losses and settings reach on Omniglot is in benchmarks/results/comparison/comparison.html.

Weaker than it looks: with class weights gamma 1 loses little after 240 steps (0.318, gamma 32: 0.335), and AdamW at 0.1
with a warm-up of 0.3 was crowded and none the worse (0.368). Left out, since no fault showed: gamma too large (4096 did
no harm), gradients of one side far larger than those of the other (so they are at every start with class weights), a
loss that goes on falling, weights alpha of 0 (no run was seen to suffer from them). What is said of a run that diverged
stands in `divergence`.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circlet.advise.divergence import after_divergence
from circlet.advise.extremes import Counts, chance_loss, counts, perfect_loss
from circlet.advise.suggestion import Suggestion, gentler
from circlet.experiments import Experiment, build_loss, open_run
from circlet.losses import CircleLoss, PairLoss
from circlet.typed import naming

MIN_LINES = 8  # of metrics.jsonl: below, no rule on how things went
GAMMAS = [2.0**i for i in range(13)]


@dataclass(frozen=True)
class _Seen:
    """A run as the rules see it. losses: the lines of metrics.jsonl with a loss; references: None if unknown."""

    experiment: Experiment
    loss: PairLoss
    losses: list[dict[str, Any]]
    validated: list[dict[str, Any]]
    references: Counts | None

    @property
    def end(self) -> list[dict[str, Any]]:
        """The last quarter of the lines, none of a log too short to judge."""
        return self.losses[-(len(self.losses) // 4) :] if len(self.losses) >= MIN_LINES else []


def suggest_for(run: Path, trust: Collection[str] = ()) -> list[Suggestion]:
    """What to change in the run of a folder, finished, under way, or diverged. trust: as in `circlet.load`."""
    folder, experiment = open_run(run, trust, needed=["loss.name"], of_search=True)
    with naming(run / "config.json"):
        build_loss(experiment.loss)
    known = [name for name in ("data.json", "result.json") if (run / name).exists()]
    classes = folder.read_json(known[0]).get("train_classes") if known else None
    if classes is not None and classes < 1:
        raise ValueError(f"{run / known[0]}: train_classes: found {classes}, expected at least 1")
    return suggest(experiment, folder.read_metrics(), train_classes=classes, diverged=folder.diverged)


def suggest(
    experiment: Experiment,
    lines: Sequence[dict[str, Any]],
    *,
    train_classes: int | None = None,
    diverged: str | None = None,
) -> list[Suggestion]:
    """What to change in a run, most telling first; none where no rule applies.

    >>> from circlet import CircleLoss
    >>> from circlet.experiments import LossConfig
    >>> experiment = Experiment(loss=LossConfig.of(CircleLoss(margin=0.4, gamma=1.0)))
    >>> print(suggest(experiment, [{"step": 20, "loss": 6.0}])[0].change)
    --loss.gamma 16 or more

    lines: of metrics.jsonl. Rules whose numbers are not in them are left out: telemetry, validation. train_classes:
    in the data; without them nothing is said of how a loss with class weights compares with chance. diverged: why the
    run ended without a result, as `RunFolder.diverged` has it; None: it did not.
    """
    loss = build_loss(experiment.loss)
    seen = _Seen(
        experiment,
        loss,
        [line for line in lines if "loss" in line],
        [line for line in lines if any(name.startswith("validation_") for name in line)],
        counts(experiment, train_classes) if _on_cosine(experiment) else None,
    )
    found = {rule: rule(seen) for rule in RULES}
    for cause, effects in EXPLAINED.items():
        if found[cause] is not None:
            found.update(dict.fromkeys(effects))
    said = [suggestion for suggestion in found.values() if suggestion is not None]
    if diverged is None:
        return said
    return [after_divergence(diverged, experiment, seen.losses, seen.references, _dim(seen)), *said]


def _small_gamma(seen: _Seen) -> Suggestion | None:
    gamma, references = seen.loss.hyper_parameters.get("gamma"), seen.references
    if gamma is None or references is None:
        return None
    dim, config = _dim(seen), seen.experiment.loss

    def ends(value: float) -> tuple[float, float]:
        loss = build_loss(config.with_numbers({**config.numbers, "gamma": value}))
        return chance_loss(loss, references, dim), perfect_loss(loss, references)

    chance, perfect = ends(gamma)
    if perfect < chance / 2 or not math.isfinite(chance):
        return None
    larger = next((value for value in GAMMAS if value > gamma and ends(value)[1] < ends(value)[0] / 10), None)
    return Suggestion(
        "gamma is too small: the number of negatives, not their similarity, makes the loss",
        f"with {references.negatives} negatives the loss of random embeddings is {chance:.3g}, that of perfect "
        f"ones still {perfect:.3g}",
        f"--loss.gamma {'much larger' if larger is None else f'{larger:g} or more'}",
    )


def _loose_margin(seen: _Seen) -> Suggestion | None:
    margin = seen.loss.hyper_parameters.get("margin")
    if margin is None or seen.references is None or seen.loss.form().positives == "max":
        return None
    chance = chance_loss(seen.loss, seen.references, _dim(seen))
    if chance > 0.1:
        return None
    return Suggestion(
        "the margin asks for nothing: random embeddings are past the decision boundary",
        f"their loss is {chance:.2g}",
        f"--loss.margin {_harder(seen.loss)} than {margin:g}",
    )


def _above_chance(seen: _Seen) -> Suggestion | None:
    if seen.references is None or not seen.losses or seen.loss.form().positives == "max":
        return None
    chance = chance_loss(seen.loss, seen.references, _dim(seen))
    worst = max(seen.losses, key=lambda line: line["loss"])
    if worst["loss"] < 1.2 * chance:
        return None
    return Suggestion(
        "the first steps were too large: they made the embeddings worse than random",
        f"loss {worst['loss']:.3g} at step {worst['step']}; that of random embeddings is {chance:.3g}",
        gentler(seen.experiment.loop.optimizer),
    )


def _crowded(seen: _Seen) -> Suggestion | None:
    lines = [line for line in seen.losses if "s_n" in line]
    if not lines or not _on_cosine(seen.experiment):
        return None
    peak = max(lines, key=lambda line: line["s_n"])
    if peak["s_n"] < 0.5 or peak["s_n"] - lines[0]["s_n"] < 0.3:
        return None
    return Suggestion(
        "large steps have turned the embeddings in one direction, those of different classes too",
        f"mean similarity of negatives {lines[0]['s_n']:.2f} at step {lines[0]['step']}, {peak['s_n']:.2f} at step "
        f"{peak['step']}, {lines[-1]['s_n']:.2f} at the end; that of random embeddings is 0",
        gentler(seen.experiment.loop.optimizer),
    )


def _nothing_left(seen: _Seen) -> Suggestion | None:
    lines = [line for line in seen.end if {"past_boundary", "s_p", "s_n"} <= line.keys()]
    if not lines or (past := _mean(lines, "past_boundary")) < 0.95:
        return None
    first = next(line["step"] for line in seen.losses if line.get("past_boundary", 0.0) >= 0.95)
    margin = seen.loss.hyper_parameters.get("margin")
    harder = "" if margin is None else f", --loss.margin {_harder(seen.loss)} than {margin:g}"
    return Suggestion(
        "nothing is left to learn from: the pairs are past the decision boundary",
        f"{past:.0%} of the anchors past it in {_steps(lines)} (first at step {first}), at similarities of "
        f"{_mean(lines, 's_p'):.2f} for positives and {_mean(lines, 's_n'):.2f} for negatives",
        f"more augmentation (--augment.*){harder}, or fewer --steps",
    )


def _hardly_moved(seen: _Seen) -> Suggestion | None:
    if not seen.end:
        return None
    first, last = seen.losses[0], _mean(seen.end, "loss")
    if last < 0.95 * first["loss"]:
        return None
    optimizer = seen.experiment.loop.optimizer
    weights = seen.experiment.loss.level != "pair" and optimizer.class_lr_scale < 10
    return Suggestion(
        "the loss has hardly moved",
        f"{first['loss']:.3g} at step {first['step']}, {last:.3g} in {_steps(seen.end)}",
        f"more --steps, --loop.optimizer.learning-rate above {optimizer.learning_rate:g}"
        + (", or --loop.optimizer.class-lr-scale 10 for the class weights" * weights),
    )


def _overfitted(seen: _Seen) -> Suggestion | None:
    if len(seen.validated) < 3:
        return None
    name = next(name for name in seen.validated[0] if name.startswith("validation_"))
    validated = [line for line in seen.validated if name in line]
    best, last = max(validated, key=lambda line: line[name]), validated[-1]
    if last[name] > 0.98 * best[name]:
        return None
    before = [line["loss"] for line in seen.losses if line["step"] <= best["step"]]
    after = [line["loss"] for line in seen.losses if line["step"] > best["step"]]
    if not before or not after or not after[-1] < before[-1]:
        return None
    return Suggestion(
        "overfitting: the loss falls, and validation classes get worse",
        f"{name.removeprefix('validation_')} {best[name]:.3f} at step {best['step']}, {last[name]:.3f} at step "
        f"{last['step']}, while the loss went from {before[-1]:.3g} to {after[-1]:.3g}",
        f"--steps {best['step']}, more augmentation (--augment.*), --model.dropout or --loop.optimizer.weight-decay",
    )


RULES: tuple[Callable[[_Seen], Suggestion | None], ...] = (
    _small_gamma,
    _loose_margin,
    _above_chance,
    _crowded,
    _nothing_left,
    _hardly_moved,
    _overfitted,
)

# A rule that speaks, and those whose evidence it explains.
EXPLAINED: dict[Callable[[_Seen], Suggestion | None], tuple[Callable[[_Seen], Suggestion | None], ...]] = {
    _small_gamma: (_hardly_moved,),
    _loose_margin: (_above_chance, _nothing_left, _hardly_moved),
}


def _on_cosine(experiment: Experiment) -> bool:
    return experiment.loss.name not in ("softmax", "n_pair")


def _dim(seen: _Seen) -> int:
    return seen.experiment.model.embedding_dim or 512  # that of the backbone is not known here, and counts for little


def _harder(loss: PairLoss) -> str:
    # Circle's boundary is a circle of radius sqrt(2) m about the optimum; elsewhere m is the gap that is asked for.
    return "smaller" if isinstance(loss, CircleLoss) else "larger"


def _mean(lines: Sequence[dict[str, Any]], name: str) -> float:
    return math.fsum(line[name] for line in lines) / len(lines)


def _steps(lines: Sequence[dict[str, Any]]) -> str:
    return f"steps {lines[0]['step']} to {lines[-1]['step']}"
