import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.data import DataError, FileReader, ImageSet, manifest, split_by_time
from circlet.data.every_image import every_image
from circlet.data.times import TimesError, parse_times


def make(classes, times, groups=None):
    names = [f"{i}.png" for i in range(len(classes))]
    return ImageSet.from_classes(classes, names, FileReader("nowhere", tuple(names)), times=times, groups=groups)


def table(tmp_path, *rows, header="path,label,time"):
    path = tmp_path / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@given(st.lists(st.datetimes(), min_size=1, max_size=9), st.sampled_from(["T", " "]))
def test_date_times_are_in_order(moments, between):
    found = parse_times([moment.isoformat(between) for moment in moments])
    expected = [(moment - moments[0]).total_seconds() for moment in moments]
    assert np.allclose(found - found[0], expected, atol=1e-4)


@given(st.lists(st.floats(-1e12, 1e12), min_size=1))
def test_unix_seconds(seconds):
    assert parse_times([repr(value) for value in seconds]).tolist() == seconds


def test_formats():
    assert parse_times(["1970-01-02", "1970-01-03"]).tolist() == [86400, 172800]
    assert parse_times(["1970-01-01T00:00:01Z", "1970-01-01T02:00:00+02:00"]).tolist() == [1, 0]
    assert parse_times(["1970-01-01 00:00:01.500000000"]).tolist() == [1.5]


@pytest.mark.parametrize(
    ("cells", "rows", "message"),
    [
        (["2024-05-01", "2024-05-02", "1714600000"], (0, 2), "found a date .* and Unix seconds"),
        (["2024-05-01", "2024-05-02T10:00"], (0, 1), "found a date .* and a date-time without a time zone"),
        (["2024-05-01T10:00", "2024-05-01T10:00Z"], (0, 1), "found a date-time without .* with its time zone"),
        (["2024-05-01", "1.5.2024"], (1,), "found the time '1.5.2024', expected an ISO 8601"),
        (["05/01/2024"], (0,), "found the time"),
        (["2024-13-01"], (0,), "found the time"),
        (["nan"], (0,), "found the time"),
        (["1e999"], (0,), "found the time"),
    ],
)
def test_bad_times(tmp_path, cells, rows, message):
    with pytest.raises(TimesError, match=message) as error:
        parse_times(cells)
    assert error.value.rows == rows
    path = table(tmp_path, *(f"{i}.png,x,{cell}" for i, cell in enumerate(cells)))
    where = " and ".join(f"line {row + 2}" for row in rows)
    with pytest.raises(DataError, match=f"list.csv, {where}: {message}"):
        manifest(path)


def test_parquet_times(tmp_path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "list.parquet"
    day, moment = datetime.date(1970, 1, 2), datetime.datetime(1970, 1, 1, 0, 0, 1)
    nanoseconds, zoned = pa.timestamp("ns"), pa.timestamp("us", tz="UTC")
    for column, expected in (
        (pa.array([day, day]), 86400),
        (pa.array([moment, moment]), 1),
        (pa.array([moment, moment], nanoseconds), 1),
        (pa.array([moment, moment], zoned), 1),
        (pa.array([12.5, 12.5]), 12.5),
        (pa.array(["1970-01-02", "1970-01-02"]), 86400),
    ):
        pyarrow.parquet.write_table(pa.table({"path": ["a", "b"], "label": ["x", "y"], "time": column}), path)
        assert every_image(path).times.tolist() == [expected] * 2


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 12)), min_size=2, max_size=25),
    st.floats(0.05, 0.95),
    st.booleans(),
)
def test_split_by_time(rows, share, closed_set):
    labels, times, groups = (list(column) for column in zip(*rows, strict=True))
    images = make([f"c{label}" for label in labels], times, groups)
    distinct = sorted(set(times))
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            splits = split_by_time(images, share, closed_set=closed_set)
    except DataError:
        return
    where = {name: i for i, name in enumerate(images.names)}
    train, query = ([where[name] for name in part.names] for part in (splits.train, splits.query))
    assert not {groups[i] for i in train} & {groups[i] for i in query}
    starts = {group: min(times[i] for i in range(len(rows)) if groups[i] == group) for group in set(groups)}
    cut = min(starts[groups[i]] for i in range(len(rows)) if i not in train and starts[groups[i]] > min(times))
    wanted = sorted(times)[min(max(1, round(share * len(rows))), len(rows) - 1)]
    moment = max(wanted, distinct[1])
    assert cut >= moment
    assert train == [i for i in range(len(rows)) if starts[groups[i]] < moment]
    after = [i for i in range(len(rows)) if starts[groups[i]] >= moment]
    seen = {labels[i] for i in train}
    assert query == (after if closed_set else [i for i in after if labels[i] not in seen])
    assert bool(said) == any(times[i] >= moment for i in train)


def test_groups_go_to_the_earlier_side_and_it_is_said():
    images = make("abcd", [1, 2, 3, 4], [0, 1, 1, 2])
    said = r"1 group has images on both sides of the moment of 2.png; those after it \(1 in all: 2.png\) went to"
    with pytest.warns(UserWarning, match=said):
        splits = split_by_time(images, 0.5)
    assert splits.train.names == ("0.png", "1.png", "2.png")
    assert splits.query.names == ("3.png",)


def test_seen_classes_are_tested_in_a_closed_set_only():
    images = make("aabb", [1, 5, 2, 6])
    with pytest.raises(DataError, match=r"found all 2 classes before .* closed_set=True"):
        split_by_time(images, 0.5)
    assert split_by_time(images, 0.5, closed_set=True).query.names == ("1.png", "3.png")
    opened = split_by_time(make("aabbc", [1, 5, 2, 6, 7]), 0.5)
    assert (opened.train.names, opened.query.names) == (("0.png", "2.png"), ("4.png",))


def test_a_moment_in_words(tmp_path):
    rows = ("0.png,a,2023-01-01", "1.png,a,2024-01-01", "2.png,b,2024-06-01", "3.png,b,2024-06-02")
    path = table(tmp_path, *rows)
    splits = manifest(path, time_split="2024-01-01")
    assert (splits.train.names, splits.query.names) == (("0.png",), ("2.png", "3.png"))
    with pytest.raises(DataError, match=r"list.csv: time_split: found no image before 2020-01-01"):
        manifest(path, time_split="2020-01-01")
    with pytest.raises(DataError, match=r"list.csv: time_split: found no image after 2030-01-01"):
        manifest(path, time_split="2030-01-01")
    with pytest.raises(ValueError, match=r"time_split: found the time 'soon'"):
        manifest(path, time_split="soon")


@pytest.mark.parametrize("share", [0, 1, -0.5, math.nan])
def test_bad_share(share):
    with pytest.raises(ValueError, match=r"time_split: found .*, expected a share"):
        split_by_time(make("ab", [1, 2]), share)


def test_what_cannot_be_split_by_time(tmp_path):
    with pytest.raises(DataError, match=r"list.csv: time_split: found images without times"):
        manifest(table(tmp_path, "a.png,x", "b.png,y", header="path,label"), time_split=0.5)
    both = table(tmp_path, "a.png,x,1,train", "b.png,y,2,test", header="path,label,time,split")
    with pytest.raises(DataError, match=r"list.csv: found time_split and a column 'split'"):
        manifest(both, time_split=0.5)
    with pytest.raises(DataError, match="one moment for all images"):
        manifest(table(tmp_path, "a.png,x,1", "b.png,y,1"), time_split=0.5)
    with (
        pytest.warns(UserWarning, match="went to the training images"),
        pytest.raises(DataError, match="found no image after the moment"),
    ):
        split_by_time(make("ab", [1, 2], [0, 0]), 0.5)
