"""Which way up an image is, by its EXIF data, which may be damaged; and turning it.

Damaged EXIF data are passed over and noted (`circlet.data.strict`): the pixels beside them may be sound.
"""

from typing import TYPE_CHECKING

from circlet.data.strict import note_metadata, passing_over

if TYPE_CHECKING:
    from PIL import Image

_TAG = 0x0112
_SAY_SO = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_SWAPPED, _FLIPPED_X, _FLIPPED_Y = (5, 6, 7, 8), (2, 3, 7, 8), (3, 4, 6, 7)

Edges = tuple[int, int, int, int]


def orientation(image: "Image.Image") -> int:
    """How the loaded image is stored: 1 (upright) to 8, as EXIF numbers them; 1 where that cannot be read.

    >>> from PIL import Image
    >>> orientation(Image.new("L", (3, 2)))
    1
    """
    from PIL import Image

    found: object = 1
    try:
        with passing_over():
            exif = image.getexif()
            found = exif.get(_TAG, 1)
            if set(exif) <= {_TAG} and image.info.get("exif"):
                # Nothing was there, or nothing could be read when the image was opened: now it says so.
                Image.Exif().load(image.info["exif"])
    except Exception:  # damaged EXIF data fail in many ways
        note_metadata()
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turned(image: "Image.Image", stored: int) -> "Image.Image":
    """The image upright, given its `orientation`; one that was turned says no more that it has to be."""
    from PIL.Image import Transpose

    turns = (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM, Transpose.TRANSPOSE,
             Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)  # fmt: skip
    if stored == 1:
        return image
    upright = image.transpose(turns[stored - 2])
    for name in _SAY_SO:
        upright.info.pop(name, None)
    return upright


def upright_size(size: tuple[int, int], stored: int) -> tuple[int, int]:
    """Width and height of the upright image, given those of the stored one and its `orientation`."""
    return (size[1], size[0]) if stored in _SWAPPED else size


def stored_edges(edges: Edges, size: tuple[int, int], stored: int) -> Edges:
    """Where a part (left, top, right, bottom) of the upright image lies in the stored one of that (width, height).

    >>> stored_edges((0, 0, 2, 1), (10, 6), 3)
    (8, 5, 10, 6)
    """
    left, top, right, bottom = edges
    if stored in _SWAPPED:
        left, top, right, bottom = top, left, bottom, right
    if stored in _FLIPPED_X:
        left, right = size[0] - right, size[0] - left
    if stored in _FLIPPED_Y:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom
