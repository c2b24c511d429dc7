"""Copies: of files, of pictures changed in every way, and none where there are none."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from circlet.curate import Audit, audit, duplicates, exact_pairs, same_picture
from circlet.curate.duplicates import Pairs, copies_of, grouped
from circlet.curate.labels import Labels
from circlet.curate.listing import audit_json, audit_rows, summary, table_of
from circlet.curate.overlay import SAME, SIDE
from circlet.curate.page import audit_page, duplicates_page
from circlet.data import Splits, every_image


def scene(seed, width=320, height=240):
    """Coloured blobs on a slope of light, as different from the next one as photographs are."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).resize((width, height))
    return Image.blend(image, fine.filter(ImageFilter.GaussianBlur(2)), 0.5)


def jpeg(image, quality=35):
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


CHANGES = {
    "crop": lambda image: image.crop((20, 30, 290, 225)),
    "jpeg": jpeg,
    "resize": lambda image: image.resize((110, 80)),
    "mirror": ImageOps.mirror,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "all": lambda image: jpeg(ImageOps.mirror(image.crop((8, 20, 300, 230)).resize((150, 110))), 50),
}


def small(image):
    return torch.from_numpy(np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)).copy())


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_picture_either_way_round(change):
    pictures = torch.stack(
        [part for seed in range(4) for part in (small(scene(seed)), small(CHANGES[change](scene(seed))))]
    )
    pairs = torch.tensor([[2 * i, 2 * i + 1] for i in range(4)])
    assert (same_picture(pictures, pairs) >= SAME).all()
    assert (same_picture(pictures, pairs.flip(1)) >= SAME).all()


def test_other_pictures_are_not_and_empty_ones_are_like_none():
    pictures = torch.stack([*(small(scene(seed)) for seed in range(8)), torch.zeros(SIDE, SIDE).byte(),
                            torch.full((SIDE, SIDE), 255).byte()])  # fmt: skip
    pairs = torch.combinations(torch.arange(10))
    assert (same_picture(pictures, pairs) < 0.6).all()
    assert same_picture(pictures, torch.tensor([[8, 9], [8, 8]])).tolist() == [0.0, 0.0]
    assert same_picture(pictures, torch.zeros(0, 2, dtype=torch.int64)).shape == (0,)
    with pytest.raises(ValueError, match=r"small: found shape \(2, 3\), expected \(n, 64, 64\)"):
        same_picture(torch.zeros(2, 3), pairs)


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=12))
def test_exact_pairs_join_what_is_equal_and_nothing_else(content):
    pairs = exact_pairs(content)
    labels = np.zeros(len(content), np.int64)
    groups = grouped(
        pairs, Pairs(np.zeros((0, 2), np.int64), np.zeros(0)), [f"{i:02}" for i in range(12)][: len(content)], labels
    )
    expected = {tuple(i for i, own in enumerate(content) if own == value) for value in set(content) - {""}}
    assert {group.images for group in groups} == {members for members in expected if len(members) > 1}
    assert all(group.exact and not group.leak and not group.two_labels for group in groups)


def test_the_largest_is_kept_then_the_first_by_name():
    near = Pairs(np.array([[0, 1], [1, 2]]), np.array([0.95, 0.99]))
    exact = exact_pairs(["", "", "", "x", "x"])
    names, labels, roles = ["d", "c", "b", "a", "e"], np.array([0, 0, 1, 2, 2]), np.array([0, 1, -1, 2, 2])
    sizes = np.array([9, 16, 16, 4, 4])
    groups = grouped(exact, near, names, labels, roles, lambda indices: sizes[indices])
    assert [group.images for group in groups] == [(3, 4), (2, 1, 0)]
    assert [(group.exact, group.leak, group.two_labels) for group in groups] == [
        (True, False, False),
        (False, True, True),
    ]
    assert groups[1].scores == (0.99, 0.99, 0.95)
    assert copies_of(groups, 6).tolist() == [1, 1, 1, 0, 0, -1]


HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def folder(tmp_path):
    """Two classes with hostile names; a copy of a file, a crop in the other class, and a file that is no image."""
    for name, seeds in ((HOSTILE, (0, 1, 2)), ("b\x1b[2J", (3, 4, 5))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for seed in seeds:
            scene(seed).save(tmp_path / "photos" / name / f"{seed}.png")
    copy = tmp_path / "photos" / HOSTILE / "copy of 0.png"
    copy.write_bytes((tmp_path / "photos" / HOSTILE / "0.png").read_bytes())
    CHANGES["crop"](scene(1)).save(tmp_path / "photos" / "b\x1b[2J" / "crop of 1.jpg")
    return tmp_path / "photos"


def rows_for(images):
    """An embedding to which a picture and its copies look alike."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(10, 32, generator=generator)
    return torch.stack([rows[int(name.split(".")[0][-1])] for name in images.names])


def test_duplicates_of_a_folder(folder):
    images = every_image(folder)
    groups = duplicates(images, rows_for(images))
    named = [[images.names[i].split("/")[1] for i in group.images] for group in groups]
    assert named == [["0.png", "copy of 0.png"], ["1.png", "crop of 1.jpg"]]
    assert [(group.exact, group.two_labels) for group in groups] == [(True, False), (False, True)]
    assert [group.exact for group in duplicates(images, None)] == [True]


def test_the_audit_names_everything_and_nothing_breaks_out(folder):
    images = every_image(folder)
    roles = np.array([1 if "crop" in name else 0 for name in images.names])
    found = audit(images, rows_for(images), roles=roles, broken=[("gone.png", f"gone.png: found {HOSTILE}")])
    assert len(found.leaks) == 1
    rows = audit_rows(found)
    kinds = [row.kind for row in rows]
    assert kinds[:2] == ["near duplicate, two labels, leak", "equal files"]
    assert kinds[-1] == "unreadable"
    assert set(kinds[2:-1]) <= {"suspicious label", "classes look like one", "few images"}
    assert table_of(rows).splitlines()[0] == "kind,image,other image,score,suggestion"
    assert audit_json(found)["duplicates"][0]["exact"]
    lines = summary(found)
    assert "leaks between train and test (7 train, 1 query): 1 pictures on both sides" in lines[2]
    assert all("\x1b" not in line for line in lines)
    text = audit_page(found, HOSTILE, "audit.csv")
    assert "<img src=x" not in text
    assert text.count("<figure") >= 2 * 2 + 2  # the leak, and both groups
    assert "<img src=x" not in duplicates_page(images, found.groups, HOSTILE, "x.csv")


def test_an_image_that_vanishes_is_shown_as_a_gap(folder):
    images = every_image(folder)
    found = audit(images, rows_for(images))
    (folder / HOSTILE / "0.png").unlink()
    assert "R0lGODlhAQABAIAAAAAAAP" in audit_page(found, "photos", "audit.csv")


def test_splits_have_roles_of_their_own(folder):
    images = every_image(folder)
    half = [images.subset(np.flatnonzero(images.labels == label)) for label in (0, 1)]
    found = audit(Splits(*half), torch.cat([rows_for(part) for part in half]))
    assert len(found.leaks) == 1
    assert found.roles is not None
    with pytest.raises(ValueError, match="roles: found with splits"):
        audit(Splits(*half), torch.eye(8), roles=found.roles)
    with pytest.raises(ValueError, match=r"embeddings: found shape \(3, 3\), expected \(8, dim\)"):
        audit(images, torch.eye(3))


def test_one_image_and_one_class(folder):
    images = every_image(folder)
    one = audit(images.subset([0]), torch.eye(1))
    assert (one.groups, one.labelled, one.labels) == ((), False, Labels((), 0, 0))
    assert isinstance(one, Audit)
    assert "labels: not judged, all images are of one class" in summary(one)
