"""The pages of curate in a browser: clean, and readable on a phone."""

import numpy as np
import pytest
import torch

from circlet.curate import audit
from circlet.curate.clusters import Agreement, Clusters
from circlet.curate.page import audit_page, clusters_page, duplicates_page
from tests.report.made_up import HOSTILE, image_set

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    images = image_set([0] * 8 + [1] * 8 + [5] * 8 + [2])
    rows = torch.eye(3).repeat_interleave(8, 0)[[*range(23), 0, 1]] + 0.05 * torch.randn(25, 3)
    found = audit(images, rows, broken=[(HOSTILE[0], HOSTILE[1])])
    clusters = Clusters(np.array([0] * 20 + [-1] * 5), np.ones(25))
    texts = {
        "audit": audit_page(found, HOSTILE[0], "audit.csv"),
        "duplicates": duplicates_page(images, found.groups, HOSTILE[5], "duplicates.csv"),
        "clusters": clusters_page(images, clusters, Agreement(0.5, 0.5, 0.5), "photos", "clusters.csv"),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return folder


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("name", ["audit", "duplicates", "clusters"])
def test_it_fits_and_is_clean(opened, pages, name, width, dark):
    visit = opened(pages / f"{name}.html", width=width, dark=dark, touch=width == 360)
    assert visit.fits()
    broken = visit.page.eval_on_selector_all("img", "all => all.filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0
    assert visit.page.locator("script, img[src=x], u, i").count() == 0
    visit.expect_clean()
    visit.expect_accessible()
