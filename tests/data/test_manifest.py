import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from circlet.data import DataError, manifest
from circlet.data.notes import say_once


def csv(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_split_and_cameras(tmp_path):
    path = csv(
        tmp_path,
        "camera,path,label,split,other\nc2,a.png,001,train,x\nc10,b.png,1,query,y\nc2,c.png,1,gallery,z\n"
        "c1,d.png,NA,gallery,\n",
    )
    Image.new("L", (3, 5)).save(tmp_path / "b.png")
    splits = manifest(path)
    assert splits.train.class_names == ("001",)
    assert splits.query.class_names == ("1",)
    assert splits.gallery.class_names == ("1", "NA")
    with splits.query.read(0) as image:
        assert image.size == (3, 5)
    assert (splits.train.cameras.tolist(), splits.query.cameras.tolist()) == ([2], [1])
    assert splits.gallery.cameras.tolist() == [2, 0]


@pytest.mark.parametrize("test", ["val", "validation", "Dev", "TEST", "testing", "probe"])
def test_split_values_have_the_names_of_split_folders(tmp_path, test):
    splits = manifest(csv(tmp_path, f"path,label,split\na,x,Training\nb,y,{test}\n"))
    assert (splits.train.names, splits.query.names) == (("a",), ("b",))


def test_with_test_rows_the_validation_rows_are_left_alone_and_said_so(tmp_path, capsys):
    rows = "v,v,val\nb,y,test\na,v,train\nw,w,val\nc,y,test\n"
    splits = manifest(csv(tmp_path, f"path,label,split\n{rows}"))
    assert (splits.train.names, splits.query.names) == (("a",), ("b", "c"))
    assert "trains on train and tests on test; val is left alone" in capsys.readouterr().err
    with pytest.raises(DataError, match="line 6: query: found 1 of its 2 classes in train too"):
        manifest(csv(tmp_path, f"path,label,split\n{rows.replace('c,y', 'c,v')}"))


def test_root_and_classes_split(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("L", (2, 2)).save(tmp_path / "images" / f"{name}.png")
    splits = manifest(csv(tmp_path, "\ufeffpath,label\na.png,x\nb.png,y\n"), root=tmp_path / "images")
    assert {splits.train.class_names, splits.query.class_names} == {("x",), ("y",)}
    with splits.train.read(0) as image:
        assert image.size == (2, 2)


def test_test_role_and_parquet_with_number_labels(tmp_path):
    path = tmp_path / "list.parquet"
    table = {"path": ["a", "b", "c"], "label": [3, 10, 10], "split": ["train", "test", "test"]}
    pyarrow.parquet.write_table(pa.table(table), path)
    splits = manifest(path)
    assert splits.query.class_names == ("10",)
    assert splits.query.names == ("b", "c")
    assert splits.gallery is None
    assert splits.query.cameras is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "found the columns file, label, without 'path'"),
        ("path,class\na,b\n", "without 'label'"),
        ("path,label\n", "found no row"),
        ("", "found no readable table"),
        ("path,label\na,x\nb,\n", "line 3: found an empty cell in column 'label'"),
        ("path,label\n  ,x\nb,y\n", "line 2: found an empty cell in column 'path'"),
        ("path,label,split\na,x,train\nb,y,other\n", "line 3: found split 'other'"),
        ("path,label,split\na,x,train\nb,y,\n", "line 3: found an empty cell in column 'split'"),
        ("path,label,split\na,x,train\n", "found the splits train, expected"),
        ("path,label,split\na,x,train\nb,y,test\nc,y,query\n", "found the split values query, test, train"),
        ("path,label,split\na,x,train\nb,y,val\nc,y,dev\n", "two values for validation, dev and val, expected one$"),
        ("path,label,split\na,x,test\n", "found the splits test, expected"),
        ("path,label,camera\na,x,\nb,y,1\n", "line 2: found an empty cell in column 'camera'"),
        ("path,label,label\na,x,y\n", "found 2 columns 'label'"),
        ("path,label\na,x,y\n", "line 2: found 3 cells, expected 2, as many as the header has"),
        ("path,label,split\na,x,train\nb,x,test\n", "line 3: query: found 1 of its 1 classes in train too"),
        ("path,label,split\na,x,train\na,x,test\n", "line 3: query: found 1 of its 1 classes in train too"),
        ("path,label,split\na,x,train\nb,y,query\nc,y,gallery\nd,x,gallery\n", "line 5: gallery: found 1 of its 2"),
        ("path,label\na,x\nb,x\n", "found 0.5 for 1 classes"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(DataError, match=message) as error:
        manifest(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["../secret.png", "in/../../secret.png", "{outside}/secret.png"])
def test_a_path_that_leaves_the_root(tmp_path, name):
    (tmp_path / "set").mkdir()
    path = csv(tmp_path / "set", f"path,label\na.png,x\n{name.format(outside=tmp_path)},y\n")
    with pytest.raises(DataError, match=r"line 3: found the image '.*', expected paths below .*set") as caught:
        manifest(path)
    shown = str(caught.value).split("'")[1]
    given = name.format(outside=tmp_path)
    assert shown == given or (shown.endswith("...") and given.startswith(shown.removesuffix("...")))


def test_absolute_paths_below_the_root(tmp_path):
    Image.new("L", (3, 5)).save(tmp_path / "b.png")
    path = csv(tmp_path, f"path,label,split\na.png,x,train\n{tmp_path}/b.png,y,test\n")
    for root in (None, tmp_path, f"{tmp_path}/", f"{tmp_path}/x/..", "/"):
        with manifest(path, root=root).query.read(0) as image:
            assert image.size == (3, 5)
    path = csv(tmp_path, f"path,label\na.png,x\n{tmp_path}-other/b.png,y\n")
    with pytest.raises(DataError, match=r"line 3: found the image"):
        manifest(path)


def test_messages_of_very_long_names_are_short(tmp_path, capsys):
    say_once.cache_clear()
    name, label = "n" * 4000, "l" * 4000
    manifest(csv(tmp_path, f"path,label\n{name},{label}\n{name},{label}\nb,y\n"))
    assert len(capsys.readouterr().err) < 600
    for rows in (f"{name},{label}\n{name},{label}2\n", f"{name},{label}\nb,{label} \n"):
        with pytest.raises(DataError) as error:
            manifest(csv(tmp_path, f"path,label\n{rows}"))
        assert len(str(error.value)) < 800


def test_bad_files(tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        manifest(tmp_path / "none.csv")
    with pytest.raises(DataError, match="found a folder"):
        manifest(tmp_path)
    (tmp_path / "a.txt").write_text("path,label\n")
    with pytest.raises(DataError, match=r"suffix '.txt'"):
        manifest(tmp_path / "a.txt")
    (tmp_path / "a.parquet").write_text("path,label\n")
    with pytest.raises(DataError, match="no readable table"):
        manifest(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"line 2: found bytes that are no UTF-8 in column 'label' \('\\udce9'\)"):
        manifest(csv(tmp_path, "path,label\na,é\nb,x\n", "latin-1"))


def test_parquet_cells(tmp_path):
    path = tmp_path / "list.parquet"
    pyarrow.parquet.write_table(pa.table({"path": ["a", None], "label": ["x", "y"]}), path)
    with pytest.raises(DataError, match="row 1: found an empty cell in column 'path'"):
        manifest(path)
    pyarrow.parquet.write_table(pa.table({"path": ["a"], "label": [["x"]]}), path)
    with pytest.raises(DataError, match=r"found list.* in column 'label'"):
        manifest(path)
