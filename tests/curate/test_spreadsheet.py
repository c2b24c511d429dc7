"""No cell of a table begins as a formula does, and what it says can be had back."""

import csv
import io
from pathlib import PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st

from circlet.curate.spreadsheet import csv_text

TEXT = st.text(st.sampled_from("=+-@\t\r\n\uff1dab/.1, ;\"'"), max_size=8)


def read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
@example([('=HYPERLINK("http://a.example","x").jpg', "@SUM(1)")])
@example([("\t-1", "\r1")])
def test_cells_are_plain_and_lose_nothing(rows):
    heading, *found = read(csv_text(("image", "class"), rows, paths=("image",)))
    assert heading == ["image", "class"]
    for (path, text), (path_cell, text_cell) in zip(rows, found, strict=True):
        for cell in (path_cell, text_cell):
            assert not cell.startswith(("=", "@", "\t", "\r", "\n", "\uff1d"))
            if cell.startswith(("+", "-")):
                float(cell)
        assert PurePosixPath(path_cell) == PurePosixPath(path)
        assert text_cell in (text, f"'{text}")


def test_numbers_stay_numbers():
    assert read(csv_text(("a", "b", "c"), [(-1, "-0.5", "+1-2")]))[1] == ["-1", "-0.5", "'+1-2"]
