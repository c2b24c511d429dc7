"""A plan to read: the table of its parts, what they come to, and what the numbers rest on."""

from collections.abc import Iterable
from typing import Any

from circlet.plan.advice import Budget, bottleneck, verdict
from circlet.plan.part import Part, duration, size
from circlet.plan.planning import Plan

HEADINGS = ("part", "memory", "of the machine", "a step", "an epoch, or once", "sent a step", "disk")


def rows(plan: Plan) -> list[tuple[str, ...]]:
    """Cells of the table, the headings first; memory and time for each process."""
    steps = plan.scale.steps
    found = [HEADINGS, *(_row(part, steps) for part in plan.parts)]
    total = Part("together", held=plan.bytes_of_process, host=0.0, seconds=plan.seconds, sent=plan.sent)
    return [*found, _row(total, steps), *(_row(part, None) for part in plan.once)]


def _row(part: Part, steps: int | None) -> tuple[str, ...]:
    if steps is None:
        times: tuple[str, str] = ("", duration(part.seconds) if part.seconds != 0 else "")
    else:
        seconds = part.seconds
        times = (duration(seconds), duration(None if seconds is None else seconds * steps))
    return part.name, size(part.memory), size(part.host), *times, size(part.sent), size(part.disk)


def sentences(plan: Plan, budget: Budget) -> list[str]:
    """What it comes to."""
    scale = plan.scale
    where = "GPU" if scale.on_gpu else "process"
    epoch = f"An epoch is {scale.steps:,} steps"
    return [
        f"A step of {scale.batch:,} images on {scale.ranks:,} {'GPUs' if scale.on_gpu else 'processes'} "
        f"({scale.own_batch:,} each): {size(plan.bytes_of_process) or '0 B'} of each {where}, "
        f"{size(plan.bytes_of_host) or '0 B'} of each machine of {min(scale.ranks, scale.ranks_per_host)}, "
        f"{size(plan.sent) or '0 B'} sent in {plan.messages} collectives.",
        f"{epoch}: {duration(plan.seconds * scale.steps)}, {scale.batch / plan.seconds:,.0f} images a second."
        if plan.seconds
        else f"{epoch}.",
        bottleneck(plan),
        *verdict(plan, budget),
    ]


def assumptions(plan: Plan) -> list[str]:
    """What the numbers rest on, a line each."""
    network, scale = plan.network, plan.scale
    activations = network.activations(scale)
    precision = "bf16, weights and loss in fp32" if scale.half else "fp32"
    return [
        f"{network.name} at {scale.size[0]} x {scale.size[1]} in {precision}: {network.weights:,} weights, "
        f"{network.flops / 1e9:.2f} GFLOP forward and {activations.image / 2**20:.1f} MiB of activations an image, "
        "counted on two small batches.",
        *(f"{name}: {rate.value:.3g} {UNITS[name]}, {rate.source}." for name, rate in plan.rates.known().items()),
        f"A checkpoint every {plan.checkpoint_every:,} steps; a test on {plan.tested:,.0f} images.",
        "Communication waits for nothing and nothing waits for it: where it overlaps with the backward pass, a step "
        "takes less. Memory is that of tensors: CUDA's context, the libraries and fragments come on top.",
    ]


UNITS = {
    "network": "operations a second in forward and backward",
    "pairs": "operations a second in the loss within the batch",
    "classes": "operations a second in the loss with class weights",
    "decode": "images a second and worker",
    "update": "weights a second in the optimiser",
    "wire": "bytes a second sent by a process",
    "disk": "bytes a second to disk",
    "message": "collectives a second",
    "search": "operations a second in exact search",
}


def content(plan: Plan, budget: Budget) -> dict[str, Any]:
    """All of it as plain JSON values: bytes and seconds, None where a time is not known."""
    return {
        "parts": [_plain(part) for part in plan.parts],
        "once": [_plain(part) for part in plan.once],
        "process_bytes": plan.bytes_of_process,
        "machine_bytes": plan.bytes_of_host,
        "step_seconds": plan.seconds,
        "epoch_seconds": plan.seconds * plan.scale.steps,
        "steps_of_an_epoch": plan.scale.steps,
        "sent_bytes_a_step": plan.sent,
        "collectives_a_step": plan.messages,
        "fits": not budget.misses(plan),
        "sentences": sentences(plan, budget),
        "assumptions": assumptions(plan),
    }


def _plain(part: Part) -> dict[str, Any]:
    names: Iterable[str] = ("name", "held", "passes", "update", "host", "seconds", "sent", "messages", "disk")
    return {name: getattr(part, name) for name in names}
