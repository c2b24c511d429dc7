"""The sample report of the site: `python -m docs.hooks.sample` trains as `circlet train` does and keeps its report.

It takes a minute or two and is kept in the repository, so that the site is built without a training. A test tells when
the report looks otherwise by now.
"""

import shutil
import tempfile
from pathlib import Path

from docs.hooks.blocks import DOCS

SAMPLE = DOCS / "sample-report.html"


def main() -> None:
    """Train, keep the page."""
    import circlet

    with tempfile.TemporaryDirectory() as folder:
        run = circlet.train(circlet.recipes.glyphs(), run_dir=Path(folder, "glyphs-1"))
        shutil.copyfile(run.path / "report.html", SAMPLE)
    print(f"{SAMPLE}: {SAMPLE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
