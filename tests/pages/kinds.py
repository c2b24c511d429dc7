"""Every kind of page that circlet writes, with whatever a user can name in it of our choice."""

from dataclasses import replace

import pytest

from circlet.compare import build_page
from circlet.compare.comparison import Candidate
from circlet.losses import CircleLoss, all_losses
from circlet.report import build_report, explorer
from tests.compare import made_up as compared
from tests.report import made_up as reported


def report(names):
    """Of a run whose classes, files, title, metrics and settings bear the names."""
    made = reported.run(with_gallery=True, spread=1.2, names=names)

    def renamed(images):
        return replace(images, names=tuple(f"{names[i % len(names)]}/{i}.png" for i in range(len(images))))

    return build_report(
        replace(
            made,
            title=names[0],
            metrics={name: dict.fromkeys(names, 0.5) for name in names},
            query=renamed(made.query),
            gallery=renamed(made.gallery),
            sampled=" ".join(names),
            details={name: {name: names} for name in names},
        )
    )


def comparison(names):
    """Of losses, settings, a recipe, a machine and a command of these names."""
    made = compared.result([f"{name}:pair" for name in names])
    entries = [
        entry._replace(settings=name, chosen_by=name, candidates=[Candidate(name, 0.5), Candidate(name, 0.25)])
        for name, entry in zip(names, made.entries, strict=True)
    ]
    changed = made._replace(
        entries=[*entries[:-1], compared.diverged(entries[-1])],
        experiment=replace(made.experiment, recipe=names[0]),
        environment={name: name for name in names},
        facts={**made.facts, "device": list(names)},
    )
    return build_page(changed, ["circlet", "compare", *names])


def explorer_page(names):
    """With losses of these names beside the library's own."""
    added = {name: type("AnyLoss", (CircleLoss,), {"name": name, "title": name}) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer, "all_losses", lambda: {**all_losses(), **added})
        return explorer.build_explorer()


KINDS = {"report": report, "comparison": comparison, "explorer": explorer_page}
