"""When a run ends: after its steps, when its time is over, or when validation has ceased to get better.

Which step is the last is known before that step is taken, but for the end by validation, so that all that is due after
the last step (a line of the log, a validation, a checkpoint) happens whichever way a run ends.
"""

from time import monotonic
from typing import Literal, TypedDict

from circlet.distributed import on_rank_0
from circlet.training.config import LoopConfig


class EndingState(TypedDict):
    """What a checkpoint holds of it."""

    reason: Literal["seconds", "patience"] | None
    stale: int
    seconds: float


class Ending:
    """Told of time and validations, it knows the last step; the same on all ranks.

    last_step: number of steps after which the run ends, as far as is known. reason: "seconds" or "patience" where that
    is before the steps are over. stale: validations in a row without a better score. seconds: spent in the loop until
    the beginning of the current step, those before an interruption included.
    """

    def __init__(self, config: LoopConfig) -> None:
        self.config = config
        self.last_step = config.steps
        self.reason: Literal["seconds", "patience"] | None = None
        self.stale, self.seconds = 0, 0.0
        self._since = monotonic()

    def start(self) -> None:
        """Start the clock: it counts on from `seconds`."""
        self._since = monotonic() - self.seconds

    def look(self, step: int, step_seconds: float) -> float:
        """Look at the clock before `step` (0-based); gives the place in the schedule, in steps.

        step_seconds: what a step takes: with less time left than for one and a half, this one is the last. Over several
        ranks it is collective if the time is limited, and the clock is that of rank 0.
        """
        if self.config.seconds is None:
            self.seconds = monotonic() - self._since
            return step
        self.seconds, step_seconds = on_rank_0(lambda: (monotonic() - self._since, step_seconds))
        if self.seconds + 1.5 * step_seconds >= self.config.seconds:
            self._out_of_time(step)
        return max(float(step), min(self.seconds / self.config.seconds, 1.0) * self.config.steps)

    def look_again(self, step: int) -> None:
        """Look at the clock once the work of `step` (0-based) is done: if its time is over, this was the last."""
        if self.config.seconds is not None and on_rank_0(lambda: monotonic() - self._since) >= self.config.seconds:
            self._out_of_time(step)

    def _out_of_time(self, step: int) -> None:
        if step + 1 < self.last_step:
            self.last_step, self.reason = step + 1, "seconds"

    def judge(self, step: int, better: bool) -> None:
        """Take note of a validation after `step` steps: whether its score is better than all before it."""
        self.stale = 0 if better else self.stale + 1
        if self.config.patience and self.stale >= self.config.patience and step < self.last_step:
            self.last_step, self.reason = step, "patience"

    def is_due(self, every: int, step: int) -> bool:
        """Whether what is done every so many steps is done after `step` (1-based); it always is after the last."""
        return step % every == 0 or step == self.last_step

    def why(self) -> str:
        """The reason of an end before the steps are over, in words."""
        if self.reason == "seconds":
            return f"the time of {self.config.seconds:g} s is over"
        return f"{self.stale} validations in a row without a better score"

    def line(self) -> dict[str, float]:
        """What metrics.jsonl says of an end before the steps are over; empty for any other."""
        found = {"seconds": round(self.seconds, 3), "patience": float(self.stale)}
        return {f"stopped_by_{self.reason}": found[self.reason]} if self.reason else {}

    def expected_steps(self, step: int) -> int:
        """How many steps the run will have, as far as `step` steps and their time tell."""
        if self.config.seconds is None or self.reason or not self.seconds:
            return self.last_step
        return min(self.last_step, max(step + 1, round(step * self.config.seconds / self.seconds)))

    def state_dict(self) -> EndingState:
        """What a checkpoint holds of it."""
        return {"reason": self.reason, "stale": self.stale, "seconds": monotonic() - self._since}

    def load_state_dict(self, state: EndingState, step: int) -> None:
        """Go on from what `state_dict` gave after `step` steps; a run that has ended early trains no more."""
        self.reason, self.stale, self.seconds = state["reason"], state["stale"], state["seconds"]
        if self.reason:
            self.last_step = step
