"""How an image file becomes the pixels that a deployed network takes: in words, and as code that needs Pillow alone.

The code gives the same bytes as `circlet.data.decode` for images of 8 bits a channel, of less than 33 megapixels: it
cannot be a part of the graph, since Pillow rounds in its own way. Grey of 16 bits, and all that is broken or hostile,
is the library's business.
"""

from circlet.data.pixels import Decoding
from circlet.inference import Model

_OPEN = '''\
import numpy as np
from PIL import Image, ImageOps


def pixels(path):
    """An image file as the model takes it: uint8 ({height}, {width}, {channels})."""
    with Image.open(path) as image:
        image.draft("{mode}", ({least}, {least}))
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("{mode}")
'''
_WHOLE = """\
    image = image.resize(({width}, {height}), Image.Resampling.{filter}, reducing_gap=2.0)
"""
_CROP = """\
    scale = max({width} / image.width, {height} / image.height)
    left, top = (image.width - {width} / scale) / 2, (image.height - {height} / scale) / 2
    box = max(0.0, left), max(0.0, top), min(image.width, image.width - left), min(image.height, image.height - top)
    image = image.resize(({width}, {height}), Image.Resampling.{filter}, box, reducing_gap=2.0)
"""
_PAD = """\
    scale = min({width} / image.width, {height} / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(inner, Image.Resampling.{filter}, reducing_gap=2.0)
    canvas = Image.new("{mode}", ({width}, {height}), "white")
    canvas.paste(image, (({width} - inner[0]) // 2, ({height} - inner[1]) // 2))
    image = canvas
"""
_CLOSE = """\
    return np.asarray(image, dtype=np.uint8).reshape({height}, {width}, {channels})
"""
_INK = '''\
from circlet.data import FileReader, ImageSet, decode


def pixels(path):
    """An image file as the model takes it: uint8 ({height}, {width}, {channels}); cut out by its ink."""
    images = ImageSet.from_classes([""], [str(path)], FileReader("", (str(path),)))
    found = decode(images, 0, size=({height}, {width}), channels={channels}, fit="ink", interpolation="{interpolation}")
    return found.transpose(1, 2, 0)
'''
_FITS = {"stretch": _WHOLE, "crop": _CROP, "pad": _PAD}
_SAID = {
    "stretch": "stretched to {height} x {width} pixels, whatever its shape",
    "crop": "its shorter side resized so that {height} x {width} pixels fit, and the centre taken",
    "pad": "resized so that it fits into {height} x {width} pixels, centred, the rest white",
    "ink": "a drawing, dark on white, cut out by the centre and the spread of its ink, at {height} x {width} pixels",
}


def preparation_code(decoding: Decoding) -> str:
    """Python code of a function `pixels(path)`, which makes of an image file what the graph takes."""
    mode = "L" if decoding.channels == 1 else "RGB"
    height, width = decoding.size
    if decoding.fit == "vector":
        return f"# rows: numbers (n, {width}), which circlet.load(...).embed takes as they are\n"
    parts = _INK if decoding.fit == "ink" else _OPEN + _FITS[decoding.fit] + _CLOSE
    return parts.format(height=height, width=width, channels=decoding.channels, mode=mode,
                        least=2 * max(decoding.size), filter=decoding.interpolation.upper(),
                        interpolation=decoding.interpolation)  # fmt: skip


def preparation_words(model: Model) -> str:
    """The same in two sentences, with what the graph does itself.

    >>> from circlet.inference import load_model
    >>> print(preparation_words(load_model("efficientnet_lite0")))  # doctest: +SKIP
    An image is turned upright, ...
    """
    decoding, view = model.decoding, model.view
    height, width = decoding.size
    if model.of_vectors:
        return f"It takes vectors of {width} numbers as they are: `circlet.load(...).embed(rows)`."
    colour = "grey" if decoding.channels == 1 else "red, green, blue"
    fit = _SAID[decoding.fit].format(height=height, width=width)
    resized = f"An image is turned upright ({colour}, 8 bits, transparency over white) and {fit}, by Pillow's " \
        f"{decoding.interpolation} filter."  # fmt: skip
    if view.five_crops:
        seen = f"five crops of {view.size[0]} x {view.size[1]} pixels, corners and centre, their embeddings added up"
    elif view.crop_share == 1 and view.size == decoding.size:
        seen = "the whole image"
    else:
        share = f"the central {view.crop_share:.4g} of each side" if view.crop_share < 1 else "the whole image"
        seen = f"{share}, at {view.size[0]} x {view.size[1]} pixels"
    mirrored = ", and their mirror images too" if view.flip else ""
    return f"{resized} The network sees {seen}{mirrored}; this, mean, standard deviation and unit length are in the " \
        "graph."  # fmt: skip
