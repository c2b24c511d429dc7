"""The logbook of a run: its lines in metrics.jsonl, its progress, its validations and which checkpoint is best.

    each `log_every` steps:       {"step": 20, "loss": 5.1, "learning_rate": 2e-3, "gradient_norm": 0.8, "seconds": 1.9}
    each `validate_every` steps:  {"step": 200, "validation_map@r": 0.41}

Only rank 0 writes, shows progress and validates.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn

from circlet.distributed import is_rank_0, on_rank_0
from circlet.progress import Progress, progress
from circlet.training.config import LoopConfig
from circlet.training.optimizer import to_training
from circlet.training.state import TrainingState
from circlet.training.step import Taken
from circlet.training.trackers import Tracker, tracking

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
        """After a step: a line of the training loss, or of a validation, where one is due."""
        step = self.state.step
        if self.config.is_due(self.config.log_every, step):
            self._log(taken)
        if self.validate is not None and self.config.is_due(self.config.validate_every, step):
            self._validate(self.validate)

    def advance(self) -> None:
        """Show that the step is done, with its loss where that costs no wait for a device."""
        losses = self.state.losses
        show_loss = bool(losses) and self.state.device.type == "cpu"
        self.shown.advance(**({"loss": float(losses[-1])} if show_loss else {}))

    def _log(self, taken: Taken) -> None:
        self.write(
            {
                "step": self.state.step,
                "loss": self.state.mean_loss(),
                "learning_rate": taken.learning_rate,
                "gradient_norm": float(taken.gradient_norm),
                "seconds": round(self.state.seconds, 3),
                **taken.observed,
            }
        )
        self.state.losses.clear()

    def _validate(self, validate: Validate) -> None:
        """Write the model's metrics on validation classes, and keep it as the best if the first is higher than ever."""
        state = self.state
        state.check_finite()
        state.model.eval()
        metrics = on_rank_0(partial(validate, state.model))
        to_training(state.model, self.config.optimizer)
        self.write({"step": state.step, **{f"validation_{name}": value for name, value in metrics.items()}})
        self.shown.print(f"step {state.step}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        score = next(iter(metrics.values()))
        if score > state.best:
            state.best = score
            state.save(state.folder.best)  # before last.pt: a run cut off between the two comes by here again


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
