"""The characters of the embedded set, and their rendering.

How the characters were chosen: letters and decimal digits without decomposition that all twelve DejaVu typefaces have;
in order of code points, those whose normalised drawing (`normalised`) has a cosine below .92 with all kept before.
"""

import hashlib
import importlib
import subprocess
import sys
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageFilter, ImageFont

from circlet.data import glyphs

module = importlib.import_module("circlet.data.glyphs")
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
ALL = "".join(sorted(module.IN_BOTH + module.IN_DEJAVU))


def has(typeface):
    font = TTFont(FONTS / typeface)
    return {chr(code) for code, name in font.getBestCmap().items() if name != ".notdef"}


def normalised(character, side=32, margin=4):
    """Draw in DejaVu Sans, scale the ink to one size, centre, blur, and give unit norm."""
    font = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 96, layout_engine=ImageFont.Layout.BASIC)
    mask = font.getmask(character)
    ink = Image.frombytes("L", mask.size, bytes(mask))
    ink = ink.crop(ink.getbbox())
    scale = side / max(ink.size)
    ink = ink.resize((max(1, round(ink.width * scale)), max(1, round(ink.height * scale))), Image.Resampling.BOX)
    canvas = Image.new("L", (side + 2 * margin, side + 2 * margin))
    canvas.paste(ink, ((canvas.width - ink.width) // 2, (canvas.height - ink.height) // 2))
    vector = np.asarray(canvas.filter(ImageFilter.GaussianBlur(1.5)), dtype=float).ravel()
    return vector / np.linalg.norm(vector)


def test_characters_are_the_ones_chosen():
    candidates = sorted(
        c
        for c in set.intersection(*map(has, module.DEJAVU))
        if unicodedata.category(c) in ("Ll", "Lu", "Lo", "Nd") and not unicodedata.decomposition(c)
    )
    drawings = np.stack([normalised(c) for c in candidates])
    alike = drawings @ drawings.T
    kept = []
    for index in range(len(candidates)):
        if not kept or alike[index, kept].max() < 0.92:
            kept.append(index)
    derived = {candidates[index] for index in kept}
    # Another FreeType may move a pair across the threshold.
    assert len(derived ^ set(ALL)) <= 6, sorted(derived ^ set(ALL))


def test_no_two_characters_look_alike_and_all_typefaces_have_them():
    assert len(set(ALL)) == len(ALL) == 324
    drawings = np.stack([normalised(c) for c in ALL])
    alike = drawings @ drawings.T
    np.fill_diagonal(alike, 0)
    assert alike.max() < 0.93
    for typeface in module.DEJAVU:
        assert set(ALL) <= has(typeface), typeface
    for typeface in module.STIX:
        assert set(module.IN_BOTH) <= has(typeface), typeface
    everywhere = set.intersection(*map(has, module.STIX))
    assert not set(module.IN_DEJAVU) & everywhere


def test_no_glyph_is_blank():
    for typefaces, characters in ((module.DEJAVU + module.STIX, module.IN_BOTH), (module.DEJAVU, module.IN_DEJAVU)):
        for typeface in typefaces:
            for character in characters:
                low, high = module._ink(character, typeface, 0).getextrema()
                assert (low, high > 128) == (0, True), (character, typeface)


def test_split():
    splits = glyphs()
    assert (splits.train.num_classes, splits.query.num_classes) == (216, 108)
    assert sorted(splits.train.class_names + splits.query.class_names) == list(ALL)
    assert np.bincount(splits.query.labels).tolist() == [20] * 108
    assert splits.query.names[0] == f"U+{ord(splits.query.class_names[0]):04X}/00"
    assert glyphs(seed=1).query.class_names != splits.query.class_names


def test_images_stay_inside_and_show_ink():
    train = glyphs(num_instances=3).train
    for index in range(0, len(train), 5):
        pixels = np.asarray(train.read(index))
        assert pixels.shape == (64, 64)
        assert pixels.min() < 140
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.min() > 220, train.names[index]


def test_first_instances_differ_in_typeface():
    drawn = []
    reader = module.GlyphReader(ALL, 12, 64, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "render", lambda character, typeface, size, rng: drawn.append(typeface))
        for index in range(12):
            reader(ALL.index("Ա") * 12 + index)
    assert sorted(drawn) == sorted(module.DEJAVU)


def test_image_depends_on_seed_character_and_instance_alone():
    few, many = glyphs(num_instances=2).train, glyphs(num_instances=5).train
    index = many.names.index(few.names[1])
    assert few.read(1).tobytes() == many.read(index).tobytes()
    assert few.read(0).tobytes() != few.read(1).tobytes()
    assert glyphs(size=32).train.read(0).size == (32, 32)
    name = next(name for name in few.names if name in glyphs(seed=1).train.names)
    other = glyphs(seed=1).train
    assert few.read(few.names.index(name)).tobytes() != other.read(other.names.index(name)).tobytes()


DIGEST = """
import hashlib
from circlet.data import glyphs
query = glyphs().query
print(hashlib.sha256(b"".join(query.read(i).tobytes() for i in range(0, 2000, 97))).hexdigest())
"""


@pytest.mark.subprocess
def test_another_process_draws_the_same():
    query = glyphs().query
    here = hashlib.sha256(b"".join(query.read(i).tobytes() for i in range(0, 2000, 97))).hexdigest()
    there = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


@pytest.mark.parametrize("bad", [{"seed": -1}, {"num_instances": 0}, {"size": 7}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}: found"):
        glyphs(**bad)
