"""Shards as a data set: what is found in them, held against the webdataset library, and what is refused."""

import importlib.util
import json
import os
import pickle
import shutil
import tarfile

import numpy as np
import pytest

from circlet.data import DataError, decode, open_data_set
from circlet.data.streams import StreamSet, shards
from circlet.data.streams.names import expanded, find_shards
from circlet.data.streams.shard_index import ShardIndex
from tests.data.shard_files import members_of, mixed, picture, write_members, write_parquet, write_shards, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "cache" / "shards"


@pytest.fixture(params=["tar", "json", "parquet"])
def collection(request, tmp_path):
    """20 classes of 6 images in 5 shards, and what is in each shard."""
    labels = mixed(20, 6, 5)
    if request.param == "parquet":
        return write_shards(tmp_path / "data", labels, write_parquet, "parquet"), labels
    kind = "json" if request.param == "json" else "cls"
    write = lambda path, part, first: write_tar(path, part, first, kind)  # noqa: E731
    return write_shards(tmp_path / "data", labels, write), labels


def test_all_images_with_their_labels(collection):
    root, labels = collection
    splits = shards(root, held_out=5)
    assert isinstance(splits.train, StreamSet)
    assert (splits.train.num_classes, len(splits.train)) == (15, 90)
    assert (splits.query.num_classes, len(splits.query)) == (5, 30)
    assert set(splits.train.class_names).isdisjoint(splits.query.class_names)
    flat = [label for part in labels for label in part]
    for images in (splits.train, splits.query):
        assert len(images.names) == len(images.labels) == len(images)
        for index in (0, 7, len(images) - 1):
            name = images.class_names[images.labels[index]]
            assert decode(images, index, size=(12, 12), channels=1).min() == 8 * int(name)
    kept = [str(label) for label in flat if str(label) in splits.train.class_names]
    assert [splits.train.class_names[label] for label in splits.train.labels] == kept
    np.testing.assert_array_equal(splits.train.class_sizes, np.bincount(splits.train.labels))


def test_held_out_as_of_a_listed_set(collection):
    from circlet.data import hold_out_classes

    root, _ = collection
    whole = shards(root, held_out=1)
    train = whole.train
    for one, other in zip(hold_out_classes(train, 0.3, 4), hold_out_classes(train.listed(), 0.3, 4), strict=True):
        assert (one.class_names, one.names, one.labels.tolist()) == (
            other.class_names,
            other.names,
            other.labels.tolist(),
        )


def test_subsets(collection):
    root, _ = collection
    train = shards(root, held_out=5).train
    listed = train.listed()
    few = train.subset([i for i in range(len(train)) if i not in (3, 40)])
    assert isinstance(few, StreamSet)
    again = few.subset(range(1, len(few)))
    assert isinstance(again, StreamSet)
    for found, indices in ((few, [i for i in range(90) if i not in (3, 40)]),
                           (again, [i for i in range(1, 90) if i not in (3, 40)]),
                           (train.subset([5, 2, 2]), [5, 2, 2]), (train.subset([]), [])):  # fmt: skip
        expected = listed.subset(np.array(indices, int))
        assert (found.names, found.class_names) == (expected.names, expected.class_names)
        assert found.labels.tolist() == expected.labels.tolist()
    assert not isinstance(train.subset(np.flatnonzero(train.labels)), StreamSet)  # a class goes
    assert few.told() != train.told()
    assert few.class_digests() != train.class_digests()


@pytest.mark.skipif(not importlib.util.find_spec("webdataset"), reason="webdataset is not installed")
def test_as_the_webdataset_library_reads_and_writes(tmp_path):
    import webdataset
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    folder = tmp_path / "data"
    with webdataset.ShardWriter(f"{folder}/train-%06d.tar", maxcount=10, verbose=0) as writer:
        for number in range(24):
            writer.write({"__key__": f"a/{number:04d}", "png": picture(number % 6, number), "cls": number % 6,
                          "seg.png": b"no image", "json": {"label": "another"}})  # fmt: skip
    expected = []
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            samples = group_by_keys({**each, "__url__": ""} for each in tar_file_iterator(file))
            expected += [(each["__key__"], each["png"], each["cls"].decode()) for each in samples]
    found = shards(folder, held_out=1).train.collection
    names = [name for shard in range(3) for name in found.names(shard)]
    labels = [found.class_names[label] for shard in range(3) for label in found.labels(shard)]
    content = [found.content(position) for position in range(len(found))]
    assert [(name.partition("/")[2].partition(".")[0]) for name in names] == [key for key, _, _ in expected]
    assert content == [image for _, image, _ in expected]
    assert labels == [label for _, _, label in expected]


def test_shards_are_indexed_once(tmp_path, cache, monkeypatch):
    root = write_shards(tmp_path / "data", mixed(6, 4, 3))
    first = shards(root, held_out=2)
    files = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 3
    monkeypatch.setattr("circlet.data.streams.collection.index_tar", None)
    again = shards(root, held_out=2)
    assert again.train.told() == first.train.told()
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    monkeypatch.undo()
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-3])  # damaged: indexed anew
    assert shards(root, held_out=2).train.told() == first.train.told()


def test_a_damaged_index_is_none(tmp_path, cache):
    root = write_shards(tmp_path / "data", [[0, 1, 0, 1, 2, 2]])
    shards(root, held_out=1)
    content = next(cache.iterdir()).read_bytes()
    assert ShardIndex.read(content) is not None
    for place in range(0, len(content), 7):
        assert ShardIndex.read(content[:place]) is None
        damaged = bytearray(content)
        damaged[place] ^= 64
        assert ShardIndex.read(bytes(damaged)) is None


def test_other_shards_to_test_on(tmp_path):
    root = write_shards(tmp_path / "data", mixed(6, 4, 2))
    write_tar(tmp_path / "test.tar", ["7", "7", "8", "8"])
    splits = open_data_set("shards", root, test_shards=tmp_path / "test.tar")
    assert (splits.train.num_classes, len(splits.train), splits.query.class_names) == (6, 24, ("7", "8"))
    with pytest.raises(DataError, match=r"train-000000\.tar: found a shard to train on among those to test on"):
        shards(root, test_shards=tmp_path / "data" / "train-000000.tar")
    write_tar(tmp_path / "seen.tar", ["5", "5", "8", "8"])
    with pytest.raises(DataError, match=r"query: found 1 of its 2 classes in train too \('5'; seen.tar/000000.png has"):
        shards(root, test_shards=tmp_path / "seen.tar")


def test_a_set_travels_to_other_processes(collection):
    root, _ = collection
    train = shards(root, held_out=5).train
    train.read(0)
    copy = pickle.loads(pickle.dumps(train))
    assert copy.names == train.names
    assert copy.read.content(3) == train.read.content(3)
    assert copy.read.place(3) == train.read.place(3)


def test_names(tmp_path):
    assert expanded("a-{7..9}.tar") == ["a-7.tar", "a-8.tar", "a-9.tar"]
    for name in ("{3..1}.tar", "{0..9}-{0..9}.tar", "{0..99999999}.tar"):
        with pytest.raises(ValueError, match="root: found"):
            expanded(name)
    write_tar(tmp_path / "data" / "b.tar", [1, 1])
    write_tar(tmp_path / "data" / "a.tar", [1, 1])
    (tmp_path / "data" / "README").write_text("x")
    assert [os.path.basename(shard.path) for shard in find_shards(tmp_path / "data")] == ["a.tar", "b.tar"]
    assert len(find_shards(tmp_path / "data" / "a.tar")) == 1


def refused(root, expected, **options):
    with pytest.raises(DataError, match=expected) as error:
        shards(root, **options)
    assert "\n" not in str(error.value)


def test_shards_that_are_not_there(tmp_path):
    folder = tmp_path / "data"
    refused(folder, "data: found no shard, expected a .tar or .parquet file")
    root = write_shards(folder, mixed(6, 4, 4))
    (folder / "train-000002.tar").unlink()
    refused(root, r"train-000002.tar: found no such shard \(1 of 4 are missing: train-000002.tar\), expected all that")
    refused(tmp_path / "none.tar", "none.tar: found no such shard")
    refused(tmp_path / "none.zip", "found .zip, expected a .tar or .parquet")
    os.mkfifo(folder / "train-000002.tar")
    refused(root, "train-000002.tar: found a named pipe, expected a regular file")


def test_shards_that_are_there_twice(tmp_path):
    folder = tmp_path / "data"
    root = write_shards(folder, mixed(6, 4, 2))
    os.link(folder / "train-000000.tar", folder / "x.tar")
    refused(folder, r"x.tar: found a shard that is listed twice, as .*train-000000.tar too")
    (folder / "x.tar").unlink()
    shutil.copy(folder / "train-000001.tar", folder / "y.tar")
    refused(folder, r"y.tar: found a copy of .*train-000001.tar, expected each shard once")
    (folder / "y.tar").unlink()
    one, other = ({"000000.png": number * bytes(9), "000000.cls": b"3"} for number in (1, 1))
    one["000000.png"] = b"other one"  # of the same names, labels and sizes
    write_members(folder / "y.tar", one.items())
    write_members(folder / "z.tar", other.items())
    assert len(shards(folder, held_out=1).train.collection) == 26
    assert root.name == "train-{000000..000001}.tar"


def test_a_shard_that_is_cut_off(tmp_path):
    path = tmp_path / "data" / "a.tar"
    write_tar(path, [0, 1, 0, 1, 2, 2])
    whole = path.read_bytes()
    for end, expected in ((560, "member '000000.png': found the end of the file after 48 of its"),
                          (1024 * 2 + 100, "end of the file"), (2048, "end of the file at byte 2048")):  # fmt: skip
        path.write_bytes(whole[:end])
        refused(path, rf"a\.tar.*{expected}.*cut off")


def test_a_shard_that_changes_while_it_is_used(tmp_path):
    path = tmp_path / "data" / "a.tar"
    write_tar(path, [0, 1, 0, 1, 2, 2])
    train = shards(path, held_out=1).train
    write_tar(path, [0, 1, 0, 1, 2, 2], first=9)
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match=r"a\.tar: found another file than when it was indexed"):
        decode(train, 0, size=(8, 8))


LINK = tarfile.TarInfo("000003.png")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "/etc/passwd"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([("000003.png", b"x")], "member '000003.png': found no label in its sample, expected a member .cls, or .json"),
        ([("000003.cls", b"1")], "member '000003.cls': found no image in its sample"),
        ([("000003.png", b"x"), ("000003.jpg", b"x"), ("000003.cls", b"1")], "found '000003.png' and '000003.jpg' in"),
        ([("000003.png", b"x"), ("000003.png", b"x"), ("000003.cls", b"1")], "member '000003.png': found it twice"),
        (
            [("000001.png", b"x"), ("000001.cls", b"x")],
            "member '000001.png': found members of its sample before, apart",
        ),
        ([("000003.png", b"x"), ("000003.cls", b" ")], "member '000003.cls': found an empty label"),
        ([("000003.png", b"x"), ("000003.cls", b"\xff")], "member '000003.cls': found no text in UTF-8"),
        ([("000003.png", b"x"), ("000003.cls", b"a\nb")], "member '000003.cls': found the label .*expected one line"),
        ([("000003.png", b"x"), ("000003.cls", b"a" * 5000)], "found 5,000 bytes, expected a label of at most 4,096"),
        ([("000003.png", b"x"), ("000003.json", b"{")], "member '000003.json': found no JSON"),
        ([("000003.png", b"x"), ("000003.json", b"[" * 100_000)], "member '000003.json': found no JSON"),
        ([("000003.png", b"x"), ("000003.json", b'{"class": 3}')], "member '000003.json': found no key 'label'"),
        ([("000003.png", b"x"), ("000003.json", b'{"label": 3.5}')], "found the label '3.5', expected text or a whole"),
        ([("000003.png", b""), ("000003.cls", b"3")], "member '000003.png': found 0 bytes, expected an image"),
        ([("noname", b"x")], "member 'noname': found a name without a dot"),
        ([("", LINK)], "member '000003.png': found a symbolic link, expected files alone"),
    ],
)
def test_samples_that_cannot_be(members, expected, tmp_path):
    path = tmp_path / "data" / "a.tar"
    write_members(path, [*members_of([0, 0, 1]), *members])
    refused(path, rf"a\.tar, {expected}" if expected.startswith("member") else expected)


def test_a_member_that_is_no_image(tmp_path):
    path = tmp_path / "data" / "a.tar"
    write_members(path, [*members_of([0, 0, 1, 1]), ("000009.png", b"no image"), ("000009.cls", b"0")])
    splits = shards(path, held_out=1)
    images = next(images for images in (splits.train, splits.query) if "0" in images.class_names)
    with pytest.raises(DataError, match=r"a\.tar, member 000009\.png: found no readable image"):
        decode(images, 2, size=(8, 8))


def test_classes_of_one_image(tmp_path, capsys):
    path = tmp_path / "data" / "a.tar"
    write_tar(path, [0, 1, 2, 3])
    refused(path, r"shards: found 3 training classes of one image each \(such as '.' in .*a\.tar, member 00000.\.png\)",
            held_out=1)  # fmt: skip
    write_tar(tmp_path / "data" / "b.tar", [0, 1, 2, 4], first=4)
    shards(tmp_path / "data", test_shards=None, held_out=1, seed=3)
    assert "training classes have one image, and no positive pair" in capsys.readouterr().err.replace(
        "class has", "classes have"
    )


def test_bad_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "data" / "a.parquet"

    def write(**columns):
        pq.write_table(pa.table(columns), path)

    write(image=[b"x"], other=[3])
    refused(path, "a.parquet: found the columns 'image, other', expected one 'label'")
    write(image=["x"], label=[3])
    refused(path, "found string in column 'image', expected bytes, or a struct of bytes and path")
    write(image=[b"x", b"y"], label=[3, None])
    refused(path, r"a.parquet, row 1 \(column 'label'\): found the label 'None'")
    write(image=[b"x", b"y"], label=["a", " "])
    refused(path, r"a.parquet, row 1 \(column 'label'\): found an empty label")
    write(image=pa.array([], pa.binary()), label=pa.array([], pa.int64()))
    refused(path, "found no row")
    path.write_bytes(b"PAR1 no parquet PAR1")
    refused(path, "a.parquet: found no readable Parquet file")
    write(image=[None, b"y", b"z", b"x"], label=["a", "a", "b", "b"], more=[1, 2, 3, 4])
    train = shards(path, held_out=1, seed=next(s for s in range(9) if np.random.default_rng(s).permutation(2)[0])).train
    with pytest.raises(DataError, match=r"a\.parquet, row 0: found no image in column 'image'"):
        decode(train, 0, size=(8, 8))


def test_few_row_groups_are_held(tmp_path):
    from circlet.data.streams.parquet_shard import RowGroups
    from circlet.data.streams.shard_index import ShardFile

    path = tmp_path / "data" / "a.parquet"
    write_parquet(path, [0, 1] * 20, row_group_size=4)
    shard, groups = ShardFile.find(path), RowGroups(held_bytes=300)
    for row in [*range(40), 3, 39, 0]:
        assert groups.image(shard, row, "label") == picture(row % 2, row)
        assert groups.size <= 300 + 1000
    assert json.dumps(len(groups._groups)) in "12"
