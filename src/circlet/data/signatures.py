"""Which files are pictures that are read: by suffix, or by their first bytes where the suffix says nothing.

Raster formats alone. Whether a file that looks like one can be decoded, and what decoding allows, is not settled here
(`circlet.data.decode`).
"""

from functools import cache

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
    )
)
"""Of files that are taken without a look inside."""

UNREAD = frozenset(
    (
        *(".txt", ".md", ".html", ".htm", ".pdf", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".csv", ".tsv", ".ini"),
        *(".parquet", ".npy", ".npz", ".pt", ".pth", ".pkl", ".mat", ".h5", ".db", ".log", ".md5", ".py", ".sh"),
        *(".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".mp4", ".mov", ".avi", ".mkv", ".wav", ".mp3"),
        *(".heic", ".heif", ".svg", ".eps", ".ps", ".psd", ".xmp", ".aae", ".url", ".lnk"),
        *(".bak", ".backup", ".bkp", ".orig", ".old", ".tmp"),  # what was an image once
        *(".part", ".partial", ".crdownload", ".download"),  # and what will be one
        ".thm",  # a thumbnail
        # Raw files of cameras begin as TIFF does, and hold a thumbnail at best that could be read.
        *(".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw"),
        *(".3fr", ".fff", ".iiq", ".kdc", ".dcr", ".erf", ".mef", ".mos", ".gpr", ".rwl", ".crw", ".mrw", ".x3f"),
    )
)
"""Of files that are passed over without a look inside; so are `BACKUPS`."""

BACKUPS = ("~", "_original")
"""How the suffixes of copies end that editors and exiftool leave beside an image."""

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes, of all versions of BMP: "BM" alone may begin a text
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NUM_BYTES = 32
"""How much of a file `raster_format` wants to see."""


def raster_format(start: bytes) -> str | None:
    """The format of a picture by the first `NUM_BYTES` of its file, as Pillow calls it; None for anything else.

    >>> raster_format(b"GIF89a" + bytes(26)), raster_format(b"BM is no picture, but a text")
    ('GIF', None)

    "HEIC" is told too, though Pillow does not read it.
    """
    for signature, name in _STARTS:
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    if start[4:8] == b"ftyp":
        brands = (start[8:12], *(start[place : place + 4] for place in range(16, len(start), 4)))
        if any(brand in _AVIF_BRANDS for brand in brands):
            return "AVIF"
        return "HEIC" if brands[0] in _HEIC_BRANDS else None
    return None


@cache
def reads_avif() -> bool:
    """Whether Pillow here reads AVIF: from 11.3 on, as built for most machines."""
    from PIL import features

    return "avif" in features.modules and bool(features.check("avif"))
