"""The plan of a job: its parts put together, and what they come to for a process, a machine, a step and an epoch."""

from dataclasses import dataclass, replace
from functools import cached_property

from circlet.plan import exchange, images, losses, storage
from circlet.plan.network import Network
from circlet.plan.part import Part, peak
from circlet.plan.rates import Rates
from circlet.plan.scale import Scale


@dataclass(frozen=True)
class Plan:
    """What a job takes. `parts`: of a step. `once`: of the run, beside its steps.

    checkpoint_every: steps between two. tested: images of the test.
    """

    scale: Scale
    network: Network
    rates: Rates
    checkpoint_every: int = 200
    tested: float = 1e5

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Everything that a step takes, in its order."""
        scale, network, rates = self.scale, self.network, self.rates
        return tuple(
            self._with_wire(part)
            for part in (
                images.listed(scale),
                images.decoded(scale, rates),
                images.weights(scale, network, rates),
                images.passes(scale, network, rates),
                images.gradients(scale, network),
                *losses.classes(scale, rates),
                losses.pairs(scale, rates),
                losses.memory_bank(scale),
                _exchanged(scale),
                storage.checkpoint(scale, network, rates, self.checkpoint_every),
            )
            if part != Part(part.name)
        )

    @cached_property
    def once(self) -> tuple[Part, ...]:
        """What comes once: an embedding of all images, a test, and what is written."""
        scale, network, rates = self.scale, self.network, self.rates
        operations = scale.images * network.flops / scale.ranks
        seconds = None if rates.network is None else operations / rates.network.value
        return (
            storage.tested(scale, rates, self.tested),
            replace(storage.embeddings(scale), seconds=seconds),
            storage.features(scale, network),
            storage.index(scale),
        )

    @property
    def bytes_of_process(self) -> float:
        """Of the GPU of a rank; without GPUs of its process."""
        return peak(self.parts)

    @property
    def bytes_of_host(self) -> float:
        """Of the memory of a machine, all its ranks together; the checkpoint is gathered on one of them."""
        own = min(self.scale.ranks, self.scale.ranks_per_host)
        if not self.scale.on_gpu:
            return own * self.bytes_of_process
        return sum(part.host * (1 if part.name == "checkpoint" else own) for part in self.parts)

    @property
    def seconds(self) -> float:
        """Of a step: the parts one after the other, or the decoding where it takes longer. What is unknown counts 0."""
        waited = max((part.seconds or 0.0 for part in self.parts if part.overlaps), default=0.0)
        return max(sum(part.seconds or 0.0 for part in self.parts if not part.overlaps), waited)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the parts whose time is not known."""
        return tuple(part.name for part in self.parts if part.seconds is None)

    @property
    def sent(self) -> float:
        """Bytes that a rank sends in a step."""
        return sum(part.sent for part in self.parts)

    @property
    def messages(self) -> int:
        """Collectives that a rank takes part in, in a step."""
        return sum(part.messages for part in self.parts)

    def but(self, **changes: object) -> "Plan":
        """The same with another scale."""
        return replace(self, scale=replace(self.scale, **changes))  # type: ignore[arg-type]

    def _with_wire(self, part: Part) -> Part:
        """The part with the time of what it sends; unknown where nobody knows how fast that goes."""
        if not part.sent and not part.messages:
            return part
        if self.rates.wire is None or part.seconds is None:
            return replace(part, seconds=None)
        waiting = 0.0 if self.rates.message is None else part.messages / self.rates.message.value
        return replace(part, seconds=part.seconds + part.sent / self.rates.wire.value + waiting)


def _exchanged(scale: Scale) -> Part:
    found = exchange.of_loss(scale) + exchange.of_agreement(scale)
    return Part("loss: between ranks", sent=found.sent, messages=found.messages)
