"""What a run from a pretrained network will do, and how long that takes here: said before anything starts."""

from typing import NamedTuple

from circlet.transfer.config import TransferConfig

HEAD_SECONDS = 25.0  # both stages on features, with their folds, and the tests: it hardly depends on the data
REPORT_SECONDS = 15.0
LEAST_NETWORK_SECONDS = 90.0  # with less, a network is not trained: what it would gain is within its noise
IMAGES_A_STEP = 3.3  # passes forward that a step of an image costs: forward, backward, augmentation


class Facts(NamedTuple):
    """What a plan is made of: numbers of images, and how many of them a second are made into features here.

    missing: images without features. tested, trained, validated: images to test, to train the network, to validate it.
    rate: images a second. area_share: of the pixels that the network sees in training, to those in testing.
    """

    missing: int
    tested: int
    trained: int
    validated: int
    rate: float
    area_share: float


class Plan(NamedTuple):
    """Seconds of each part; those of the network None where it is not trained. steps: of the network, about."""

    features: float
    heads: float
    network: float | None
    after: float
    steps: int

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.features + self.heads + (self.network or 0.0) + self.after


def make_plan(config: TransferConfig, facts: Facts, batch_size: int, steps: int, *, gone: float = 0.0) -> Plan:
    """The plan that keeps to `config.minutes`, or that of the stages as they are asked for.

    >>> facts = Facts(missing=2640, tested=1320, trained=1056, validated=264, rate=48.0, area_share=0.51)
    >>> stages = ("closed_form", "head")
    >>> make_plan(TransferConfig(stages), facts, 80, steps=300).network is None
    True
    >>> plan = make_plan(TransferConfig(stages, minutes=20.0), facts, 80, steps=300)
    >>> round(plan.total / 60, 1), round((plan.network or 0) / 60)
    (20.0, 17)
    >>> make_plan(TransferConfig(stages, minutes=0.5), facts, 80, steps=300)
    Traceback (most recent call last):
    ValueError: minutes: found 0.5, expected at least 1.6: ...

    batch_size: images in a step of the network. steps: of the network, where no time is given. gone: seconds of
    `minutes` that have gone by.
    """
    features = facts.missing / facts.rate
    step = batch_size * facts.area_share * IMAGES_A_STEP / facts.rate
    plan = Plan(features, HEAD_SECONDS, None, REPORT_SECONDS, 0)
    # Afterwards each mixture is validated, and all images are embedded by the new network.
    after = REPORT_SECONDS + HEAD_SECONDS + (
        (len(config.mixes) + 1) * facts.validated + facts.trained + facts.validated + facts.tested
    ) / facts.rate  # fmt: skip
    if config.minutes is None:
        if "network" not in config.stages:
            return plan
        return Plan(features, HEAD_SECONDS, steps * step, after, steps)
    seconds = 60 * config.minutes - gone
    if plan.total + gone > 1.1 * 60 * config.minutes:
        least = (plan.total + gone) / 60
        raise ValueError(f"minutes: found {config.minutes:g}, expected at least {least:.1f}: the features of "
                         f"{facts.missing} images take {features:.0f} s here ({facts.rate:.0f} images a second), the "
                         f"rest {60 * least - features:.0f} s")  # fmt: skip
    left = seconds - features - HEAD_SECONDS - after
    if left < max(LEAST_NETWORK_SECONDS, 10 * step):
        return plan
    return Plan(features, HEAD_SECONDS, left, after, round(left / step))
