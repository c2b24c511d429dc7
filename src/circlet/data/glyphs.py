"""The embedded set: characters rendered on the fly from the typefaces that matplotlib ships. Nothing to download.

Class = character, instance = typeface and distortion, test = characters unseen in training. The 324 characters are
letters and digits of five scripts (Latin with phonetic extensions, Greek, Cyrillic, Armenian, Georgian) that look
different: of those that nearly coincide once scaled to one size (Latin A, Greek Alpha and Cyrillic A; o and O), the
first by code point stays. tests/data/test_glyphs.py says how they were chosen and checks it. No other fonts are used.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import ImageSet, Splits, split_classes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

DEJAVU = tuple(
    f"DejaVu{name}.ttf"
    for name in (
        *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
        *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
        *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
    )
)
STIX = ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf")

# Characters that DejaVu and STIX have, and those that only DejaVu has, in all the typefaces above.
IN_BOTH = (
    "0123456789ABCDEFGHIJKLMNOPQRTUVWXYZabdefghkmnprstyÆÐØÞßæðþħŁŊŒƈƐƒƕƛƪƫƺƾǁɐɕɖɗɘɚɝɞɠɤɥɧɨɬɮɯɰɱɲɳɷɸɹɺɻɼɾɿʁʂʃʅʆʇʉʊʍʐʑʓʔʕ"
    "ʗʚʝʞʣʤʦʧʨΔΞΦΨαβζμνξπςφχωϘϛϞϟϠϡЂЄЉЊЋЏДЖИКЛЦЧЩЪЫЬЭЮЯгфђћѢѣҐ"
)
IN_DEJAVU = (
    "ƁƄƅƆƇƊƎƑƓƔƖƘƜƝƢƣƤƦƧƩƲƳƴƷƸǶȜȡȤȴȵȸȹȺȻȾȿɀɁɃɌɍʩʪʫʬʭʮʯϗϺϻҒҔҖҘҚҢҤҬҲҺӃӇӋӶԱԲԳԴԵԶԷԸԹԺԻԾԿՀՁՃՄՆՇՉՊՋՌՎՐՒՔՖէթխձճմնչջռվտփֆ"
    "აბდეზთიკლმჟრსტუფქღყცჭჯჰჱჲჳჴჵჷჹჺᴔᴖᴗᴝᴞᵻⱤⱮⱵⱷꞌꞐꞑꞪ"
)

_FONT_PX = 64
_TURN_DEGREES, _SHEAR, _ASPECT, _LONGER_SIDE, _BLUR = 15.0, 0.25, 1.25, (0.45, 0.75), 0.018


def glyphs(*, seed: int = 0, num_instances: int = 20, size: int = 64) -> Splits:
    """Make the embedded set: 216 characters to train on, 108 unseen ones that search each other.

    >>> glyphs().train.read(0).size
    (64, 64)

    Each character comes `num_instances` times, size x size, black on white. Its typefaces (16, or 12 for the characters
    that STIX lacks) take turns in a random order, so that up to 12 instances differ in typeface. `seed` decides on the
    split and the distortions; an image depends on seed, character, instance number and `size` alone.
    """
    for name, value, least in (("seed", seed, 0), ("num_instances", num_instances, 1), ("size", size, 8)):
        if value < least:
            raise ValueError(f"{name}: found {value}, expected at least {least}")
    characters = "".join(sorted(IN_BOTH + IN_DEJAVU))
    classes = [character for character in characters for _ in range(num_instances)]
    names = [f"U+{ord(character):04X}/{instance:02d}" for character in characters for instance in range(num_instances)]
    images = ImageSet.from_classes(classes, names, GlyphReader(characters, num_instances, size, seed))
    return split_classes(images, 1 / 3, seed)


@dataclass(frozen=True)
class GlyphReader:
    """Reader that renders: image i is instance i % num_instances of character i // num_instances."""

    characters: str
    num_instances: int
    size: int
    seed: int

    def __call__(self, index: int) -> "Image":
        """Return image `index` (size, size), mode L."""
        position, instance = divmod(index, self.num_instances)
        character = self.characters[position]
        typefaces = DEJAVU + STIX if character in IN_BOTH else DEJAVU
        order = np.random.default_rng((self.seed, ord(character))).permutation(len(typefaces))
        typeface = typefaces[order[instance % len(typefaces)]]
        return render(character, typeface, self.size, np.random.default_rng((self.seed, ord(character), instance)))


def render(character: str, typeface: str, size: int, rng: np.random.Generator) -> "Image":
    """Draw a character, black on white in mode L, as a random affine map of its ink's box, blurred a little.

    The longer side of the undistorted box becomes .45 to .75 of the image whatever the character, so that size says
    nothing of the class; the translation keeps the ink inside.
    """
    from PIL import Image, ImageChops, ImageFilter

    turn, shear = math.radians(rng.uniform(-_TURN_DEGREES, _TURN_DEGREES)), rng.uniform(-_SHEAR, _SHEAR)
    stretch, longer = _ASPECT ** rng.uniform(-0.5, 0.5), rng.uniform(*_LONGER_SIDE)
    across, down = rng.uniform(-1, 1, 2)
    stroke, blur = int(rng.integers(3)), rng.uniform(0, _BLUR * size)

    ink = _ink(character, typeface, stroke)
    scale = longer * size / max(ink.size)
    rotate = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    forward = scale * rotate @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([stretch, 1 / stretch])
    half = np.abs(forward) @ np.array(ink.size) / 2  # half the width and height that the ink's box takes
    forward /= max(1.0, 2 * half.max() / (0.9 * size))
    room = size / 2 - np.minimum(np.abs(forward) @ np.array(ink.size) / 2, 0.45 * size) - 0.05 * size
    centre = size / 2 + np.clip(room, 0, 0.1 * size) * (across, down)
    back = np.linalg.inv(forward)
    offset = np.array(ink.size) / 2 - back @ centre
    matrix = (*back[0], offset[0], *back[1], offset[1])
    drawn = ink.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return ImageChops.invert(drawn.filter(ImageFilter.GaussianBlur(blur)))


def _ink(character: str, typeface: str, stroke: int) -> "Image":
    """Draw the bare glyph, white on black, cropped to its ink and padded by two pixels for a smooth edge."""
    from PIL import Image, ImageDraw

    font = _font(typeface)
    left, top, right, bottom = font.getbbox(character, stroke_width=stroke)
    ink = Image.new("L", (math.ceil(right - left) + 4, math.ceil(bottom - top) + 4))
    ImageDraw.Draw(ink).text((2 - left, 2 - top), character, fill=255, font=font, stroke_width=stroke)
    return ink


@functools.cache
def _font(typeface: str) -> "FreeTypeFont":
    """Load a typeface by file name; the basic layout engine, so that no shaping library changes the drawing."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", typeface)
    return ImageFont.truetype(str(path), _FONT_PX, layout_engine=ImageFont.Layout.BASIC)


def _at(root: str | Path | None, *, seed: int = 0, **options: int) -> Splits:
    """The embedded set, wherever it is said to lie."""
    return glyphs(seed=seed, **options)


GLYPHS = DataSet(
    name="glyphs",
    title="characters from the typefaces of matplotlib",
    task="characters",
    load=_at,
    counts=role_counts((4_320, 216), (2_160, 108)),
    source="made on the fly",
    licence="DejaVu and STIX fonts: free to use",
    layout="no files",
    needs_path=False,
)
