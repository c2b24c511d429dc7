"""Vectors have no pictures: what training says of them, and what the verbs for pictures say."""

import numpy as np
import pytest
import torch

from circlet.cli import main
from circlet.curate.short_form import short_form
from circlet.data import ImageSet


def items(labels, first):
    names = [f"item {first + number}" for number in range(len(labels))]
    return ImageSet.from_classes([f"class {label}" for label in labels], names, lambda index: None)


def test_the_short_form_speaks_of_vectors_and_names_no_verb_that_shows_pictures():
    rows = torch.randn(48, 16, generator=torch.Generator().manual_seed(0))
    train, test = items(np.arange(48) % 2, 0), items(np.arange(48) % 2 + 2, 48)
    rows[:, 0] += 40  # nothing tells the classes apart
    sets, features = [train, test], [rows, rows.flip(1)]
    features[1][0] = features[0][0]
    plain, given = (short_form(sets, features, of_vectors=of_vectors).warnings for of_vectors in (False, True))
    assert len(plain) == len(given) == 2
    assert "test images look the same as training images (cosine of the frozen network's features" in plain[0]
    assert "test vectors are almost those of training (cosine of 0." in given[0]
    assert plain[1].endswith("; circlet audit shows them")
    assert given[1].endswith("; audit.json of the run lists them")


@pytest.mark.parametrize("words", [("audit", "f.parquet"), ("dedupe", "f.parquet"), ("cluster", "f.parquet"),
                                   ("verify", "f.parquet", "f.parquet")])  # fmt: skip
def test_verbs_for_pictures_say_that_they_are_that(words, tmp_path, monkeypatch, capsys):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    rows = np.eye(4, dtype=np.float32)
    parquet.write_table(pa.table({"label": list("aabb"), "embedding": list(rows)}), "f.parquet")
    assert main(list(words)) == 1
    assert capsys.readouterr().err == (
        f"circlet {words[0]}: f.parquet: found vectors, expected images (a folder, or a manifest with path and label), "
        "since it is pictures that are looked at here\n"
    )
