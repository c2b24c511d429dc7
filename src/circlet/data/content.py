"""What an image is, whatever it is called: a digest of its content.

Files are hashed as they are, without decoding them. Images that look alike but are stored differently are not equal
here.
"""

import hashlib

from circlet.data.images import DataError, ImageSet
from circlet.data.readers import content_of
from circlet.data.regular import open_regular
from circlet.data.upright import orientation

_BYTES = 16


def content_digest(images: ImageSet, index: int) -> bytes:
    """16 bytes (BLAKE2b) that are equal for equal content under any name.

    >>> from circlet.data import glyphs
    >>> images = glyphs().query
    >>> content_digest(images, 3) == content_digest(images.subset([5, 3]), 1), len(content_digest(images, 0))
    (True, 16)

    Of the bytes of the file or archive member, and of the box where there is one; of readers that give none
    (`circlet.data.readers`), of the pixels and what says how they are to be seen. A missing or unreadable image is a
    DataError that names it.
    """
    try:
        content = content_of(images.read, index)
        if content is not None:
            return hashlib.blake2b(content, digest_size=_BYTES).digest()
        return _pixel_digest(images, index)
    except (MemoryError, DataError):  # a DataError of a reader has named the place
        raise
    except Exception as error:
        raise DataError(f"{images.names[index]}: could not be read ({type(error).__name__}: {error})") from error


def file_digest(path: str) -> bytes:
    """The 16 bytes (BLAKE2b) of a file; an OSError where it cannot be read."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_BYTES)).digest()


def _pixel_digest(images: ImageSet, index: int) -> bytes:
    with images.read(index) as image:
        image.load()
        seen = (image.mode, image.size, image.getpalette(), image.info.get("transparency"))
        found = hashlib.blake2b(repr((*seen, orientation(image))).encode(), digest_size=_BYTES, person=b"pixels")
        found.update(image.tobytes())
        return found.digest()
