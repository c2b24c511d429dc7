"""The plan of a run from a pretrained network: measured, printed, and refused where the time is too short."""

import time

from circlet.experiments.experiment import Experiment
from circlet.experiments.loading import RunData
from circlet.experiments.network_stage import NetworkImages, training_size
from circlet.transfer import Facts, Frozen, Plan, make_plan


def planned(
    experiment: Experiment, data: RunData, frozen: Frozen, network: NetworkImages | None, began: float, ranks: int
) -> Plan:
    """The plan, printed; a ValueError where the time is too short. ranks: how many share the work."""
    backbone = experiment.model.backbone
    assert data.test is not None
    tested = [pixels for pixels in (data.test.query, data.test.gallery) if pixels is not None]
    num_tested = sum(map(len, tested))
    views = 2 if experiment.test.flip else 1
    looks = max(experiment.transfer.looks, views)  # thresholds are chosen on training images, seen as in the test
    wanted = looks * len(data.train) + views * num_tested
    missing = frozen.missing(data.train, looks) + sum(frozen.missing(pixels, views) for pixels in tested)
    asked = experiment.transfer.minutes is not None or "network" in experiment.transfer.stages
    rate = ranks * frozen.images_per_second(data.train) if missing or asked else float("inf")
    seen, small = (size[0] * size[1] for size in (experiment.view.size, training_size(experiment)))
    trained, validated = (0, 0) if network is None else (len(network.train), len(network.validation))
    facts = Facts(missing, num_tested, trained, validated, rate, small / seen)
    config = experiment.transfer
    batch = experiment.batch.classes * experiment.batch.samples
    plan = make_plan(config, facts, batch, experiment.loop.steps, gone=time.monotonic() - began)
    if network is None:
        plan = plan._replace(network=None, steps=0)
    images, (height, width) = data.train.images, experiment.view.size
    what, seen_as = "images", f"{backbone} at {height} x {width} pixels"
    if experiment.data.of_vectors:
        what, seen_as = "vectors", f"{width} numbers each"
    print(f"{len(images)} {what} of {images.num_classes} classes to train on, {num_tested} to test; {seen_as}")
    if not experiment.data.of_vectors:
        known = wanted - missing
        speed = f" at {rate:.0f} images/s" if missing else ""
        print(f"  features of the frozen network  {plan.features:4.0f} s{speed}"
              f"{f', {known} known already' if known else ''}")  # fmt: skip
    print(f"  closed form, linear head        {plan.heads:4.0f} s")
    if plan.network is not None:
        print(f"  the network, about {plan.steps} steps{plan.network:>{13 - len(str(plan.steps))}.0f} s")
    elif network is None:
        print("  the network is not trained: too few classes to judge it by")
    else:
        why = "no time left for it" if config.minutes else "--minutes 20 would train it"
        print(f"  the network is not trained: {why}")
    print(f"  tests, report                   {plan.after:4.0f} s", flush=True)
    return plan
