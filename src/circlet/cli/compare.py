"""`circlet compare`: several losses, fairly, over several seeds; a page, a table and a CSV file."""

import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from circlet.cli.common import choose_device
from circlet.cli.flags import parse
from circlet.compare import Machine, Plan, build_page, compare, csv_text, markdown, parse_contender, verdicts_markdown
from circlet.experiments import Experiment, build_splits, open_face_sets, resolved, with_defaults
from circlet.files import write_text
from circlet.recipes import RECIPES, find_recipe
from circlet.terminal import printable

DESCRIPTION = """Compare losses: the same data, network, batches and steps for all, several seeds, 95 % intervals.

The first word is a recipe, as in circlet train; its settings are flags here too.
A loss is its name, with a level (pair, class, joint) and settings if they are not those of its paper: circle,
circle:class, triplet:margin=0.2, circle:pair:margin=0.4:gamma=32. --search tries other settings first, on classes held
out of the training classes. The test classes are used once, at the end, and choose nothing.

Each run has a process and a folder of its own below --out; the same command goes on after an interruption. A run that
diverges is shown as such. `circlet report` makes a page of any run in OUT/runs.

A recipe that starts from a pretrained network in stages (folder, manifest, individuals) is compared on the features of
the frozen network, which are computed once: a run is then the training of a linear head, in seconds, from a closed form
that is the same for all. The page says whether any loss is better than the frozen network on your data, by how much,
and which losses really differ, over the test classes and corrected for the number of comparisons (Holm).

examples:
  circlet compare folder --root photos --search 8
  circlet compare --losses circle:pair circle:class triplet --steps 100
  circlet compare omniglot --root omniglot --seeds 5 --search 4 --jobs 2 --out runs/compare-omniglot"""


LOSSES = ("circle:pair", "circle:class", "triplet", "am_softmax", "arcface", "normface", "multi_similarity")
LOSSES_OF_HEADS = (*LOSSES, "proxy_anchor", "supcon", "lifted_structure", "contrastive")  # they take seconds each
MOST_JOBS = 8


@dataclass(frozen=True)
class CompareArguments:
    """Arguments of `circlet compare`."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    losses: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LOSS ...")] = ()
    """NAME[:LEVEL][:SETTING=NUMBER ...] each; settings such as margin, gamma, alpha, beta. By default seven, on frozen
    features eleven."""
    seeds: int = 3
    """Runs of each loss, with seeds from --loop.seed on."""
    search: int = 0
    """Settings tried for each loss before the comparison, those of its paper first; 0: these alone."""
    search_steps: int | None = None
    """Steps of each run of the search; by default as many as the others."""
    validation_share: float | None = None
    """Share of the training classes on which the search judges settings; by default .2, for heads on frozen features
    .4: they take few classes to train, and many to be judged by."""
    baseline: str | None = None
    """Loss that the others are compared with, as in --losses; by default the first."""
    jobs: int | None = None
    """Runs at a time; by default one, on frozen features as many as there are CPU cores, up to eight."""
    keep_models: bool = False
    """On frozen features: keep the model of every run in OUT/runs (20 MB or more each), for `circlet report`."""
    threads: int | None = None
    """CPU threads of each run; by default this machine's are shared out among the jobs."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Folder of the runs and the report; by default runs/compare-<recipe>."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Parse, compare, write."""
    given = bool(arguments) and not arguments[0].startswith("-")
    recipe = arguments[0] if given else next(iter(RECIPES))
    base = find_recipe(recipe)()
    base = replace(base, loss=with_defaults(base.loss))
    prog = f"circlet compare {recipe}"
    parsed = parse(CompareArguments, arguments[given:], base, prog=prog, description=DESCRIPTION)
    experiment = resolved(parsed.experiment)
    of_heads = bool(experiment.transfer.stages)
    if "network" in experiment.transfer.stages:
        raise ValueError("transfer.stages: found network (--steps trains it), expected heads alone: a comparison "
                         "trains them on frozen features (--transfer.head.steps)")  # fmt: skip
    if experiment.loss != base.loss:
        raise ValueError("loss: found --loss flags, expected the settings in --losses, such as circle:pair:gamma=32")
    losses = parsed.losses or (LOSSES_OF_HEADS if of_heads else LOSSES)
    contenders = [parse_contender(text, experiment.loss.level) for text in losses]
    baseline = None if parsed.baseline is None else parse_contender(parsed.baseline, experiment.loss.level).label
    share = parsed.validation_share if parsed.validation_share is not None else 0.4 if of_heads else 0.2
    plan = Plan(
        experiment,
        tuple(contenders),
        parsed.seeds,
        parsed.search,
        parsed.search_steps,
        share,
        baseline,
        parsed.keep_models,
    )
    cores = torch.get_num_threads()
    jobs = parsed.jobs if parsed.jobs is not None else min(cores, MOST_JOBS) if of_heads else 1
    threads = max(1, cores // max(1, jobs)) if parsed.threads is None else parsed.threads
    machine = Machine(jobs, threads, choose_device(parsed.device))
    open_face_sets(experiment.faces)
    build_splits(experiment.data)  # missing data are an error before the first run, and are downloaded once
    folder = parsed.out or Path("runs") / f"compare-{base.folder_name}"
    began = time.monotonic()
    result = compare(plan, folder, machine)
    took = time.monotonic() - began
    command = ["circlet", "compare", *arguments]
    table = markdown(result)
    page = build_page(result, command)
    verdicts = verdicts_markdown(result)
    told = f"{table}\n{verdicts}" if verdicts else table
    text = f"`{shlex.join(command)}`\n\nThe last session took {took:.0f} s.\n\n{told}"
    for name, content in (("html", page), ("md", text), ("csv", csv_text(result))):
        path = folder / f"comparison.{name}"
        write_text(path, content)
    print(f"\n{told}\nreport: {printable(str((folder / 'comparison.html').resolve()))}")
