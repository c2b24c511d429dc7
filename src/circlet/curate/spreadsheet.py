"""Tables as CSV for people, who open them in a spreadsheet, which runs a cell that begins as a formula does.

Names of files and classes are anybody's, so such cells are made plain text (OWASP, "CSV Injection"): before the path of
a file goes "./", which is the same path; before any other text an apostrophe, which spreadsheets take for "this is
text" and programs have to take off. Numbers, and all other cells, are left as they are.
"""

import csv
import io
from collections.abc import Collection, Iterable, Sequence

_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width


def csv_text(heading: Sequence[str], rows: Iterable[Sequence[object]], *, paths: Collection[str] = ()) -> str:
    """A heading and rows as CSV; a field with a comma, a quote or the end of a line in it is quoted.

    >>> rows = [("=1.jpg", "@home", "-0.5"), ("a/=1.jpg", "-", 1)]
    >>> print(csv_text(("image", "class", "score"), rows, paths=("image",)))
    image,class,score
    ./=1.jpg,'@home,-0.5
    a/=1.jpg,'-,1
    <BLANKLINE>

    paths: the columns that hold paths.
    """
    buffer = io.StringIO()
    writer, quoting = (
        csv.writer(buffer, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    writer.writerow(heading)
    marks = ["./" if name in paths else "'" for name in heading]
    for row in rows:
        cells = [_plain(str(cell), mark) for cell, mark in zip(row, marks, strict=True)]
        (quoting if any("\r" in cell for cell in cells) else writer).writerow(cells)  # which alone would end a line
    return buffer.getvalue()


def _plain(cell: str, mark: str) -> str:
    return f"{mark}{cell}" if cell.startswith(_BEGINS) and not _is_number(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()  # float() takes what is not
