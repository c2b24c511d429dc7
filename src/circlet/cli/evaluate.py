"""`circlet evaluate`: test a trained embedding again, on its own test classes or on other labelled images."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from circlet.cli.common import Trust, by_all_ranks, columns, table
from circlet.cli.errors import told
from circlet.distributed import raise_once, silence_other_ranks
from circlet.experiments import FaceSets, Outcome, TestConfig, evaluate_run, keep_evaluation, open_run, rows_of
from circlet.experiments.elsewhere import items_to_test
from circlet.files import write_json
from circlet.terminal import printable

DESCRIPTION = """Test a trained embedding by the task of its run, beside the raw pixels.

retrieval: Recall@K, R-Precision, MAP@R, MRR; reid: CMC and mAP across cameras; face: retrieval among the held-out
persons, and the face test sets that are given. Without a flag, all is done as the run did it. Without --root,
--checkpoint and --on-error, the metrics are also kept in the run folder, as evaluation.json: circlet recipes shows
those that the run did not take itself. Where the run's own images have moved: circlet train --resume RUN --root PATH
--no-report, once.

examples:
  circlet evaluate runs/omniglot-1
  circlet evaluate runs/circle-r50-market-1 --test.flip --test.rerank
  circlet evaluate runs/circle-r34-ms1m-1 --faces.lfw lfw.bin --faces.ijbc IJBC
  circlet evaluate runs/folder-1 --root other-photos --on-error skip --json other.json
  torchrun --nproc-per-node 4 -m circlet evaluate runs/folder-1

Under torchrun the processes share out images to embed and neighbours to find; the metrics are those of one."""


@dataclass(frozen=True)
class EvaluateArguments:
    """Arguments of `circlet evaluate`; `test` and `faces` are the run's, with what the flags change."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="IMAGES")] = None
    """Folder or manifest to test on, of a run on vectors a file of these; by retrieval if it has no cameras: its query
    (with gallery), else test, else validation part; without a split every image queries all the others. By default the
    test classes of the run."""
    images: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The folder that the paths of a manifest --root start from and must stay below; by default the manifest's own."""
    test: TestConfig = field(default_factory=TestConfig)
    faces: FaceSets = field(default_factory=FaceSets)
    checkpoint: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Another checkpoint than the run's best or last."""
    on_error: Literal["raise", "skip"] | None = None
    """raise or skip: what to do at a missing or broken image; None: as the run did."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the metrics to this file."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


def main(arguments: list[str]) -> None:
    """Load, embed, measure, print; the ranks that torchrun has started share it, and the first speaks."""
    with silence_other_ranks():
        parsed = raise_once(lambda: _parse(arguments))
        by_all_ranks(parsed.device, parsed.timeout, lambda device: _evaluate(parsed, device))


def _evaluate(parsed: EvaluateArguments, device: torch.device) -> None:
    if parsed.images is not None and parsed.root is None:
        raise ValueError(f"--images: found {parsed.images} without --root, expected --root MANIFEST, whose paths start "
                         "from it")  # fmt: skip
    images = None
    if parsed.root is not None:
        _, settings = open_run(parsed.run, needed=())
        images = items_to_test(settings.data, parsed.root, parsed.images)
    experiment, outcome = evaluate_run(
        parsed.run,
        device,
        images=images,
        test_config=parsed.test,
        faces=parsed.faces,
        checkpoint=parsed.checkpoint,
        on_error=parsed.on_error,
        trust=parsed.trust,
    )
    for pixels in filter(None, (outcome.test_set.query, outcome.test_set.gallery)):
        for name, reason in pixels.broken:
            print(f"skipped {printable(name)}: {printable(reason)}")
    print(result_text(outcome))
    if parsed.json is not None:
        write_json(parsed.json, outcome.to_json())
    if parsed.root is None and parsed.checkpoint is None and parsed.on_error is None:
        try:
            keep_evaluation(parsed.run, experiment, outcome)
        except OSError as error:  # a run of others, which may be read alone
            print(f"circlet evaluate: {told(error)}", file=sys.stderr)


def result_text(outcome: Outcome) -> str:
    """How much was tested, and the metrics, with 95 % intervals over the classes; what the thresholds give.

    Those of the face test sets, which raw pixels do not have, are below.
    """
    images = outcome.test_set.query.images
    shared = {name: value for name, value in outcome.metrics.items() if name in outcome.raw_pixels}
    others = {name: value for name, value in outcome.metrics.items() if name not in outcome.raw_pixels}
    text = f"{images.num_classes} classes, {len(images)} queries\n"
    text += table(rows_of({**outcome.to_json(), "test": shared}), outcome.intervals)
    if others:
        text += f"\n\nface test sets\n{table({'embedding': others})}"
    promises = () if outcome.open_set is None else outcome.open_set.promises
    if promises:
        rows = [(each.name, f"{each.similarity:.3f}", each.accepted_text, each.missed_text) for each in promises]
        text += "\n\n" + columns([("threshold", "similarity", "wrongly accepted here", "missed"), *rows])
    return text


def _parse(arguments: list[str]) -> EvaluateArguments:
    """The arguments, read twice: once for the run, then over what the run was tested with."""

    def read(default: EvaluateArguments | None) -> EvaluateArguments:
        kind, prog = EvaluateArguments, "circlet evaluate"
        if default is None:
            return tyro.cli(kind, args=arguments, prog=prog, description=DESCRIPTION)
        return tyro.cli(kind, args=arguments, prog=prog, description=DESCRIPTION, default=default)

    return read(_as_the_run(read(None)))


def _as_the_run(parsed: EvaluateArguments) -> EvaluateArguments:
    _, experiment = open_run(parsed.run, needed=())
    return replace(parsed, test=experiment.test, faces=experiment.faces)
