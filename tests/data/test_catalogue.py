"""The table of data sets, and the check of a copy of each in miniature."""

from functools import partial

import pytest

from circlet.data import DATA_SETS, Splits, check_data_set, open_data_set
from circlet.data.check import count, image_sets
from tests.data import miniature

WRITERS = {
    "cub200": miniature.write_cub200,
    "cars196": miniature.write_cars196,
    "sop": miniature.write_sop,
    "inshop": miniature.write_inshop,
    "market1501": miniature.write_market,
    "dukemtmc": partial(miniature.write_market, duke=True),
    "msmt17": miniature.write_msmt17,
    "msmt17-train": partial(miniature.write_msmt17, with_val=False),
    **{f"vehicleid-{size}": partial(miniature.write_vehicleid, size=size) for size in (800, 1600, 2400, 13164)},
    "ms1mv2": miniature.write_face_records,
    "casia-webface": miniature.write_face_records,
    "lfw": miniature.write_lfw,
    "lfw-bin": lambda root: miniature.write_face_bin(root / "lfw.bin"),
    "agedb-30": lambda root: miniature.write_face_bin(root / "agedb_30.bin"),
    "cfp-fp": lambda root: miniature.write_face_bin(root / "cfp_fp.bin"),
    "ytf": miniature.write_ytf,
    "ijbc": miniature.write_ijbc,
    "megaface": miniature.write_megaface,
}


# The annotations of Cars196 are read in a process of its own.
NAMES = [pytest.param(name, marks=pytest.mark.subprocess) if name == "cars196" else name for name in WRITERS]


@pytest.fixture(scope="module", params=NAMES)
def copy(request, tmp_path_factory):
    """A whole copy of each set: its name, folder and counts."""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, root, WRITERS[request.param](root)


def test_every_set_has_a_miniature():
    assert set(WRITERS) == set(DATA_SETS) - {"glyphs", "omniglot"}


def test_a_whole_copy(copy):
    name, root, counts = copy
    assert check_data_set(name, root, counts=counts) == []
    found = count(DATA_SETS[name].open(root))
    assert set(DATA_SETS[name].counts) <= set(found)  # nothing is published under a name that is never counted


def test_a_miniature_is_not_as_published(copy):
    name, root, _ = copy
    problems = check_data_set(name, root, sample=0)
    published = DATA_SETS[name].counts
    differ = [what for what in published if count(DATA_SETS[name].open(root))[what] != published[what]]
    assert differ  # at least the number of images or pairs
    assert len(problems) == len(differ)
    assert all(f"{what}, expected {published[what]}" in text for what, text in zip(differ, problems, strict=True))


def test_sets_to_train_on(copy):
    name, root, _ = copy
    if DATA_SETS[name].task in ("retrieval", "re-identification", "face training"):
        assert isinstance(open_data_set(name, root), Splits)
    else:
        with pytest.raises(ValueError, match="which has no part to train on"):
            open_data_set(name, root)


def test_every_problem_is_listed(tmp_path):
    counts = miniature.write_sop(tmp_path)
    broken = sorted((tmp_path / "Stanford_Online_Products").glob("*/*.JPG"))[::6]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    problems = check_data_set("sop", tmp_path, counts={**counts, "train images": 13, "query classes": 4})
    assert problems[:2] == [
        f"{tmp_path}: found 12 train images, expected 13",
        f"{tmp_path}: found 3 query classes, expected 4",
    ]
    named = sorted(text.split(": ")[0] for text in problems[2:])
    assert all(str(path).endswith(name) for path, name in zip(broken, named, strict=True))
    sampled = check_data_set("sop", tmp_path, counts=counts, sample=6)
    assert set(sampled) <= set(problems[2:])
    assert sampled == check_data_set("sop", tmp_path, counts=counts, sample=6)


def test_a_set_that_cannot_be_read(tmp_path):
    assert len(check_data_set("sop", tmp_path)) == 1
    with pytest.raises(ValueError, match="sample: found -1"):
        check_data_set("glyphs", None, sample=-1)


def test_names_paths_and_options(tmp_path):
    with pytest.raises(ValueError, match="found 'marketl501', expected one of market1501"):
        open_data_set("marketl501", tmp_path)
    with pytest.raises(ValueError, match="path: found none, expected that of Market-1501"):
        open_data_set("market1501")
    miniature.write_msmt17(tmp_path)
    assert len(open_data_set("msmt17", tmp_path, train_lists=("train",)).train) == 6
    assert open_data_set("glyphs", num_instances=3).train.num_classes == 216


def test_published_counts_add_up():
    for name, roles in {
        "cub200": 11_788,
        "cars196": 16_185,
        "sop": 120_053,
        "inshop": 52_712,
        "msmt17": 126_441,
    }.items():
        assert sum(n for what, n in DATA_SETS[name].counts.items() if what.endswith("images")) == roles
    for entry in DATA_SETS.values():
        assert entry.title
        assert entry.source
        assert entry.licence
        assert entry.layout


def test_image_sets_by_role(tmp_path):
    assert list(image_sets(open_data_set("glyphs"))) == ["train", "query"]
    miniature.write_market(tmp_path)
    assert list(image_sets(open_data_set("market1501", tmp_path))) == ["train", "query", "gallery"]
