import threading
import time
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from circlet.data import DataError, Decoding, decode, decode_all, load_pixels
from circlet.data.ahead import map_ahead, num_threads
from circlet.data.every_image import every_image
from circlet.data.strict import passing_over, strict_warnings


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(1, 4), st.integers(0, 10))
def test_in_order(count, threads, ahead):
    assert list(map_ahead(lambda i: 3 * i, count, threads=threads, ahead=ahead)) == [3 * i for i in range(count)]


def test_no_further_ahead_than_asked_and_nothing_left_behind():
    begun = []
    results = map_ahead(lambda i: begun.append(i) or i, 100, threads=2, ahead=5)
    assert next(results) == 0
    results.close()
    assert max(begun) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("circlet-ahead")]


def test_the_first_error_in_order():
    def work(i):
        if i == 1:
            time.sleep(0.05)
        if i in (1, 2):
            raise ValueError(f"item {i}")
        return i

    results = map_ahead(work, 5, threads=3, ahead=4)
    assert next(results) == 0
    with pytest.raises(ValueError, match="item 1"):
        next(results)
    assert num_threads() >= 1


def photos(tmp_path, count=11):
    for i in range(count):
        Image.linear_gradient("L").rotate(30 * i).save(tmp_path / f"{i:02d}.png")
    return every_image(tmp_path)


def test_threads_agree_with_one(tmp_path):
    images = photos(tmp_path)
    alone = decode_all(images, size=(9, 9), num_workers=0)
    assert torch.equal(decode_all(images, size=(9, 9)).images, alone.images)
    pixels = load_pixels(images, Decoding((9, 9), workers=0))
    batches = list(pixels.batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert torch.equal(torch.cat(batches), alone.images)
    with pytest.raises(ValueError, match="batch_size: found 0"):
        next(pixels.batches(0))


def test_a_broken_file_in_a_batch(tmp_path):
    photos(tmp_path)
    (tmp_path / "05.png").write_text("no image")
    images = every_image(tmp_path)
    batches = load_pixels(images, Decoding((9, 9))).batches(4)
    assert next(batches).shape == (4, 3, 9, 9)
    with pytest.raises(DataError, match=r"05.png: found no readable image"):
        next(batches)
    kept = load_pixels(images, Decoding((9, 9), on_error="skip"))
    assert len(kept) == 10
    assert [name for name, _ in kept.broken] == ["05.png"]


def test_warnings_are_errors_in_this_thread_alone():
    inside, leave = threading.Event(), threading.Event()
    found = []

    def strict():
        with strict_warnings():
            inside.set()
            leave.wait(10)
            try:
                warnings.warn("of a bad file", UserWarning, stacklevel=1)
            except UserWarning as error:
                found.append(str(error))

    thread = threading.Thread(target=strict)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        thread.start()
        inside.wait(10)
        warnings.warn("of something else", UserWarning, stacklevel=1)
        leave.set()
        thread.join()
    assert found == ["of a bad file"]
    assert [str(warning.message) for warning in said] == ["of something else"]


def test_deprecations_are_no_bad_files():
    with pytest.warns(DeprecationWarning, match="old"), strict_warnings():
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.raises(RuntimeWarning), strict_warnings():
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def test_filters_that_are_there_are_not_taken_out_for_a_moment(monkeypatch):
    """In which another thread might warn. And what was warned of once, elsewhere, is warned of again."""
    removed = []

    class Filters(list):
        def remove(self, entry):
            super().remove(entry)
            removed.append(entry)

    def warn():
        warnings.warn("of a bad file", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        with strict_warnings():
            pass
        monkeypatch.setattr(warnings, "filters", Filters(warnings.filters))
        for _ in range(2):
            warn()
        assert len(said) == 1
        with strict_warnings(), pytest.raises(UserWarning, match="of a bad file"):
            warn()
        with strict_warnings(), passing_over() as notes:
            warn()
        monkeypatch.undo()
    assert notes.metadata
    assert removed == []


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_interpolation(tmp_path, name):
    images = photos(tmp_path, 2)
    with Image.open(tmp_path / "01.png") as image:
        expected = image.resize((20, 20), Image.Resampling[name.upper()], reducing_gap=2.0)
    form = {"size": (20, 20), "channels": 1, "interpolation": name}
    found = decode(images, 1, **form)
    assert found[0].tolist() == torch.tensor(list(expected.tobytes())).reshape(20, 20).tolist()
    assert torch.equal(decode_all(images, **form).images[1], torch.from_numpy(found))
    lazy = load_pixels(images, Decoding((20, 20), channels=1, interpolation=name))
    assert torch.equal(next(lazy.batches(2))[1], torch.from_numpy(found))
    if name == "bicubic":
        assert decode(images, 1, size=(20, 20), channels=1).tolist() == found.tolist()


def test_unknown_interpolation(tmp_path):
    images = photos(tmp_path, 1)
    for job in (
        lambda: decode(images, 0, size=(2, 2), interpolation="cubic"),
        lambda: decode_all(images, size=(2, 2), interpolation="cubic"),
        lambda: load_pixels(images, Decoding((2, 2), interpolation="cubic")),
    ):
        with pytest.raises(ValueError, match="interpolation: found 'cubic', expected one of nearest, box, bilinear"):
            job()
