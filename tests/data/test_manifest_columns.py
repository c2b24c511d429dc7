import pyarrow as pa
import pyarrow.parquet
import pytest

from circlet.data import DataError, manifest
from circlet.data.every_image import every_image


def table(tmp_path, header, *rows, suffix="csv"):
    path = tmp_path / f"list.{suffix}"
    if suffix == "csv":
        path.write_text("\n".join([header, *rows]) + "\n")
    else:
        columns = zip(*(row.split(",") for row in rows), strict=True)
        cells = ([cell or None for cell in column] for column in columns)
        pyarrow.parquet.write_table(pa.table(dict(zip(header.split(","), cells, strict=True))), path)
    return path


BOTH = pytest.mark.parametrize("suffix", ["csv", "parquet"])


@BOTH
def test_all_columns(tmp_path, suffix):
    path = table(
        tmp_path,
        "category,path,label,group,time,camera,bbox,other",
        "shoe,a.png,x,g2,2024-05-01,c1,1 2 3 4,9",
        "hat,b.png,y,,2024-05-02,c2,,9",
        "shoe,c.png,z,g1,2024-05-03,c1,0 0 1 1,9",
        "shoe,d.png,x,,2024-05-03,c1,0 0 1 1,9",
        "shoe,e.png,x,g2,2024-05-03,c1,0 0 1 1,9",
        suffix=suffix,
    )
    images = every_image(path)
    assert images.categories.tolist() == [1, 0, 1, 1, 1]
    assert images.groups.tolist() == [1, 2, 0, 3, 1]
    assert (images.times - images.times[0]).tolist() == [0, 86400, 172800, 172800, 172800]
    assert images.cameras.tolist() == [0, 1, 0, 0, 0]
    splits = manifest(path)
    assert {splits.train.groups.dtype.name, splits.query.times.dtype.name} == {"int64", "float64"}


def test_without_them_there_are_none(tmp_path):
    images = every_image(table(tmp_path, "path,label", "a.png,x"))
    assert (images.groups, images.times, images.categories, images.cameras) == (None, None, None, None)


@BOTH
def test_groups_stay_whole(tmp_path, suffix):
    rows = [f"{i}.png,c{i},g{i // 2}" for i in range(12)]
    for seed in range(5):
        splits = manifest(table(tmp_path, "path,label,group", *rows, suffix=suffix), seed=seed)
        assert not set(splits.train.groups) & set(splits.query.groups)
        assert splits.query.num_classes == 6


@BOTH
def test_groups_that_leave_no_test_class(tmp_path, suffix):
    path = table(tmp_path, "path,label,group", "a.png,x,g", "b.png,x,h", "c.png,y,h", suffix=suffix)
    where = "line 4" if suffix == "csv" else "row 2"
    with pytest.raises(DataError, match=rf"{where}: groups: found 2 classes .* 'x' and 'y' by b.png and c.png"):
        manifest(path)


@BOTH
def test_a_label_of_two_categories(tmp_path, suffix):
    path = table(tmp_path, "path,label,category", "a.png,x,s", "b.png,y,t", "c.png,x,t", suffix=suffix)
    where = "line 2 and line 4" if suffix == "csv" else "row 0 and row 2"
    with pytest.raises(DataError, match=rf"{where}: found the categories 's' and 't' for the label 'x'"):
        manifest(path)


@BOTH
@pytest.mark.parametrize("column", ["time", "category"])
def test_empty_cells(tmp_path, suffix, column):
    path = table(tmp_path, f"path,label,{column}", "a.png,x,1", "b.png,y,", suffix=suffix)
    with pytest.raises(DataError, match=f"(line 3|row 1): found an empty cell in column '{column}'"):
        manifest(path)


@pytest.mark.parametrize("column", ["bbox", "group", "time", "category"])
def test_a_repeated_column(tmp_path, column):
    with pytest.raises(DataError, match=f"found 2 columns '{column}'"):
        manifest(table(tmp_path, f"path,label,{column},{column}", "a.png,x,1,1"))


def test_groups_of_no_text(tmp_path):
    path = tmp_path / "list.parquet"
    pyarrow.parquet.write_table(pa.table({"path": ["a"], "label": ["x"], "group": [["x"]]}), path)
    with pytest.raises(DataError, match=r"found list.* in column 'group'"):
        manifest(path)
