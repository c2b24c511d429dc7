"""What a plan means: the bottleneck, what does not fit, and which one setting would make it fit.

A setting is tried by planning again with it, so that what it costs elsewhere is counted.
"""

from collections.abc import Iterator
from typing import NamedTuple

from circlet.plan.part import duration
from circlet.plan.planning import Plan
from circlet.plan.scale import GIB

_SETTINGS = ("streamed", "in_memory", "chunk", "grad_checkpointing", "fsdp", "optimizer", "ranks", "memory")
_DOUBLINGS = 12


class Budget(NamedTuple):
    """Bytes that there are: of the GPU of a rank, and of the memory of a machine; None: as many as it takes."""

    process: float | None = None
    host: float | None = None

    def misses(self, plan: Plan) -> list[tuple[str, float, float]]:
        """What does not fit: where, how much is needed and how much is there."""
        where = "a GPU" if plan.scale.on_gpu else "a process"
        found = [(where, plan.bytes_of_process, self.process), ("a machine", plan.bytes_of_host, self.host)]
        return [(name, needed, there) for name, needed, there in found if there is not None and needed > there]


def bottleneck(plan: Plan) -> str:
    """A sentence: what a step waits for."""
    timed = [part for part in plan.parts if part.seconds]
    if not timed:
        return "No time is known: give rates by flags, or --measure."
    waited = max((part for part in timed if part.overlaps), key=lambda part: part.seconds or 0.0, default=None)
    rest = sum(part.seconds or 0.0 for part in timed if not part.overlaps)
    unknown = f" Not counted, for no rate is known: {', '.join(plan.unknown)}." if plan.unknown else ""
    if waited is not None and (waited.seconds or 0.0) >= rest:
        workers = max(1, plan.scale.workers)
        needed = -(-workers * (waited.seconds or 0.0) // rest) if rest else workers
        return (f"The bottleneck is {waited.name}: {duration(waited.seconds)} a step, for which the network waits. "
                f"--workers {needed:.0f} for each process would end that.{unknown}")  # fmt: skip
    part = max((part for part in timed if not part.overlaps), key=lambda part: part.seconds or 0.0)
    return f"The bottleneck is {part.name}: {100 * (part.seconds or 0.0) / plan.seconds:.0f} % of a step.{unknown}"


def verdict(plan: Plan, budget: Budget) -> list[str]:
    """Sentences: whether it fits, what takes most of what does not, and which settings would make it fit."""
    missed = budget.misses(plan)
    if not missed:
        given = [name for name, there in (("a GPU", budget.process), ("a machine", budget.host)) if there is not None]
        return [f"It fits into the memory of {' and of '.join(given)}."] if given else []
    lines = []
    for where, needed, there in missed:
        parts = sorted(plan.parts, key=lambda part: -(part.host if where == "a machine" and plan.scale.on_gpu
                                                      else part.memory))  # fmt: skip
        lines.append(f"It does not fit: {needed / GIB:,.1f} of {there / GIB:,.1f} GiB of {where}; most of it is "
                     f"{parts[0].name}.")  # fmt: skip
    fixes = [flag for flag, other in _changed(plan, budget) if not budget.misses(other)]
    if fixes:
        lines.append(f"Each of these alone would make it fit: {'; '.join(fixes)}.")
    else:
        lines.append("No single setting makes it fit; together: " + "; ".join(_together(plan, budget)) + ".")
    return lines


def _together(plan: Plan, budget: Budget) -> list[str]:
    """Settings that make it fit together, the cheapest first; what is left to be said where even they do not."""
    taken = []
    for name in _SETTINGS:
        best = None
        for flag, other in _ways(plan, name):
            if _excess(other, budget) < _excess(best[1] if best else plan, budget):
                best = flag, other
            if best and not budget.misses(best[1]):
                break
        if best:
            taken.append(best[0])
            plan = best[1]
        if not budget.misses(plan):
            return taken
    return [*taken, "and less of what is asked for (a smaller --dim, --classes or network)"]


def _excess(plan: Plan, budget: Budget) -> float:
    return sum(needed / there for _, needed, there in budget.misses(plan))


def _changed(plan: Plan, budget: Budget) -> Iterator[tuple[str, Plan]]:
    """Of each setting the smallest change that makes it fit, if one does."""
    for name in _SETTINGS:
        fitting = ((flag, other) for flag, other in _ways(plan, name) if not budget.misses(other))
        yield from list(fitting)[:1]


def _ways(plan: Plan, name: str) -> Iterator[tuple[str, Plan]]:
    """Values of a setting that take less memory, from the one that changes least."""
    scale = plan.scale
    if name == "streamed" and not scale.streamed:
        yield "--streamed (shards, of which no process has a list)", plan.but(streamed=True)
    if name == "in_memory" and scale.in_memory:
        yield "--no-in-memory", plan.but(in_memory=False)
    if name == "grad_checkpointing" and not scale.grad_checkpointing and plan.network.recomputed is not None:
        yield "--grad-checkpointing", plan.but(grad_checkpointing=True)
    if name == "fsdp" and not scale.fsdp and scale.ranks > 1:
        yield "--fsdp", plan.but(fsdp=True)
    if name == "optimizer" and scale.optimizer != "sgd":
        yield "--optimizer sgd", plan.but(optimizer="sgd")
    if name == "memory" and scale.memory:
        yield "--memory-bank 0", plan.but(memory=0)
    if name == "chunk":
        chunk = 2 ** ((scale.at_once - 1).bit_length() - 1) if scale.at_once > 1 else 0
        while chunk >= 2:
            yield f"--chunk {chunk}", plan.but(chunk=chunk)
            chunk //= 2
    if name == "ranks":
        for doubling in range(1, _DOUBLINGS):
            ranks = scale.ranks * 2**doubling
            if scale.batch % ranks == 0:
                yield f"--gpus {ranks}" if scale.on_gpu else f"--processes {ranks}", plan.but(ranks=ranks)
