"""The core alone: what `pip install circlet` brings is enough for all but what the extras are for."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from circlet.cli import main
from circlet.cli.embed import _listing
from circlet.curate import clusters_of
from circlet.curate.classes import look_alike_classes
from circlet.curate.nearest import nearest_of
from circlet.data import ImageSet, manifest
from circlet.data.embedding_table import write_embeddings
from circlet.data.images import FileReader
from circlet.evaluate import class_t_interval
from circlet.inference import image_set
from circlet.inference.parts import embed_in_parts
from circlet.report.embedding_map import places

SOURCE = Path(__file__).parents[1] / "src" / "circlet"
OF_EXTRAS = ("pyarrow", "scipy", "sklearn")
IMPORT = re.compile(rf"^([ \t]*)(?:import|from) ({'|'.join(OF_EXTRAS)})\b", flags=re.MULTILINE)
USERS = {
    "scipy": ["curate/clusters.py"],  # scikit-learn, which needs it, is there by then
    "pyarrow": ["data/embedding_table.py", "data/listing.py", "data/parquet_columns.py",
                "data/streams/parquet_shard.py", "data/table.py", "data/vector_files.py", "inference/parts.py",
                "vectors/parquet.py"],
}  # fmt: skip


@pytest.fixture
def core_alone(monkeypatch):
    """As if nothing of the extras were installed."""
    for name in list(sys.modules):
        if name.partition(".")[0] in OF_EXTRAS:
            monkeypatch.delitem(sys.modules, name)
    for name in OF_EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


def test_few_files_import_what_is_large():
    found = {}
    elsewhere = SOURCE / "data" / "retrieval" / "cars196.py"  # in a process of its own
    for path in sorted(set(SOURCE.rglob("*.py")) - {elsewhere}):
        for indent, name in IMPORT.findall(path.read_text(encoding="utf-8")):
            assert indent, f"{path}: {name} is imported by everybody"
            found.setdefault(name, {})[str(path.relative_to(SOURCE))] = None
    assert {name: list(paths) for name, paths in found.items()} == USERS


def test_embeddings_are_listed_as_csv(core_alone, tmp_path):
    images = ImageSet.from_classes(["=a", "b"], ["=1.png", "b/2.png"], FileReader("", ("=1.png", "b/2.png")))
    files = write_embeddings(tmp_path / "out", images, np.eye(2, dtype=np.float32), listing=_listing(images))
    assert [path.name for path in files] == ["out.npy", "out.csv"]
    assert np.array_equal(np.load(files[0]), np.eye(2))
    assert files[1].read_text().splitlines() == ["path,class,label", "./=1.png,'=a,0", "b/2.png,b,1"]


def test_what_needs_an_extra_says_so_before_it_works(core_alone, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["cluster", "photos"]) == 1
    assert capsys.readouterr().err == (
        "circlet cluster: sklearn is not installed; expected the extra: pip install 'circlet[cluster]'\n"
    )
    with pytest.raises(ImportError, match=r"pip install 'circlet\[parquet\]'"):
        embed_in_parts("run", image_set([]), tmp_path / "parts")
    assert not list(tmp_path.iterdir())


def test_findings_intervals_and_maps_need_no_extra(core_alone):
    rows = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    rows[:20, 0] += 20
    labels = np.arange(40) // 20 * 2 + np.arange(40) % 2
    assert [pair[:2] for pair in look_alike_classes(nearest_of(rows, 10), labels)] == [(0, 1), (2, 3)]
    assert class_t_interval(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0, 1, 2])).high == pytest.approx(3.484138)
    assert places(rows).shape == (40, 2)
    with pytest.raises(ImportError, match=r"pip install 'circlet\[cluster\]'"):
        clusters_of(rows)


def test_what_needs_parquet_says_so(core_alone, tmp_path):
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"pip install 'circlet\[parquet\]'"):
        manifest(tmp_path / "list.parquet")
    images = image_set([np.zeros((3, 4, 3), np.uint8)])
    with pytest.raises(ImportError, match=r"pip install 'circlet\[parquet\]'"):
        write_embeddings(tmp_path / "out", images, np.zeros((1, 2), np.float32))
    assert not list(tmp_path.glob("out*"))
