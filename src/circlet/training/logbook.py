"""The logbook of a run: its lines in metrics.jsonl, its progress, its validations and which checkpoint is best.

    each `log_every` steps:       {"step": 20, "loss": 5.1, "learning_rate": 2e-3, "gradient_norm": 0.8, "seconds": 1.9}
    each `validate_every` steps:  {"step": 200, "validation_map@r": 0.41}
    where a run ends early:       {"step": 400, "stopped_by_patience": 3}, of validations, or "stopped_by_seconds"
    where its loader was slow:    {"step": 600, "waited_share": 0.2}, at the end, of the time of the training

Only rank 0 writes, shows progress and validates; the others help it where it asks (`circlet.distributed.led`).
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from circlet.distributed import is_rank_0, led
from circlet.progress import Progress, progress
from circlet.training.batches import Batches
from circlet.training.config import LoopConfig
from circlet.training.state import TrainingState
from circlet.training.step import Taken
from circlet.training.trackers import Tracker, tracking
from circlet.training.waiting import KEY, faster, sentence
from circlet.typed import shown

Validate = Callable[[nn.Module], dict[str, float]]
"""Metrics of the model, in evaluation mode, on validation classes; the first of them chooses the best checkpoint."""


class Logbook:
    """Told of each step, it writes what is due; made by `logbook`."""

    def __init__(
        self,
        state: TrainingState,
        config: LoopConfig,
        validate: Validate | None,
        shown: Progress,
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self.state, self.config, self.validate, self.shown, self.write = state, config, validate, shown, write

    def note(self, taken: Taken) -> None:
        """After a step: a line of the training loss, or of a validation, where one is due, or of an early end."""
        state = self.state
        logged = state.is_due(self.config.log_every)
        if logged:
            self._log(taken)
        if self.validate is not None and state.is_due(self.config.validate_every):
            self._validate(self.validate)
        if state.is_over and state.ending.reason:
            if not logged:  # that it was the last step, validation has told
                self._log(taken)
            self.write({"step": state.step, **state.ending.line()})
            self.shown.print(f"step {state.step} of {self.config.steps}: stopped, {state.ending.why()}")
        share = state.waiting.share(state.ending.seconds) if state.is_over else None
        if share is not None:
            self.write({"step": state.step, KEY: round(share, 4)})

    def note_waiting(self, batches: Batches) -> None:
        """Tell once that batches come too slowly, if they do, and what to change."""
        waiting = self.state.waiting
        share = None if waiting.told else waiting.share(self.state.ending.seconds)
        if share is not None:
            waiting.told = True
            self.shown.print(sentence(share, faster(batches)))

    def advance(self) -> None:
        """Show that the step is done, with its loss where that costs no wait for a device."""
        for note in self.state.notes:
            self.shown.print(note)
        self.state.notes.clear()
        losses = self.state.losses
        show_loss = bool(losses) and self.state.device.type == "cpu"
        self.shown.total = self.state.ending.expected_steps(self.state.step)
        if self.shown.bar is not None:
            self.shown.bar.total = self.shown.total
        if show_loss:
            self.shown.advance(loss=float(losses[-1]))
        else:
            self.shown.advance()

    def _log(self, taken: Taken) -> None:
        self.write(
            {
                "step": self.state.step,
                "loss": self.state.mean_loss(),
                "learning_rate": taken.learning_rate,
                "gradient_norm": float(taken.gradient_norm),
                "seconds": round(self.state.seconds, 3),
                **_numbers("observe", taken.observed),
            }
        )
        self.state.losses.clear()

    def _validate(self, validate: Validate) -> None:
        """Write the model's metrics on validation classes; keep it as the best if the first is higher than ever."""
        state = self.state
        state.check_finite()
        with state.used_model() as model:
            model.eval()
            metrics = led(lambda: _numbers("validate", validate(model)))
        state.freezing.training()
        if not metrics:
            raise ValueError("validate: found no metric, expected at least the one that chooses the best checkpoint")
        self.write({"step": state.step, **{f"validation_{name}": value for name, value in metrics.items()}})
        self.shown.print(f"step {state.step}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        score = next(iter(metrics.values()))
        state.ending.judge(state.step, better=score > state.best)
        if score > state.best:
            state.best = score
            state.save(state.folder.best)  # before last.pt: a run cut off between the two comes by here again


def _numbers(giver: str, values: dict[str, Any]) -> dict[str, float]:
    """What a function of the caller gave, as log and checkpoint hold it; a ValueError for what is no number."""
    found = {}
    for name, value in values.items():
        try:
            if isinstance(value, str | bytes):  # which float() would read
                raise TypeError
            found[name] = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{giver}: found {shown(value)} as {name}, expected a number") from None
    return found


@contextmanager
def logbook(
    state: TrainingState, config: LoopConfig, validate: Validate | None, trackers: Sequence[Tracker] = ()
) -> Iterator[Logbook]:
    """Open the logbook of a run at its step; lines of later steps, of a run cut off, are dropped."""
    first = is_rank_0()
    with (
        progress("train", config.steps, state.step, file=None if first else io.StringIO()) as shown,
        state.folder.metrics(from_step=state.step) if first else nullcontext(lambda line: None) as write,
        tracking(trackers if first else ()) as tell,
    ):

        def note(line: dict[str, Any]) -> None:
            write(line)
            tell(line)

        yield Logbook(state, config, validate, shown, note)
