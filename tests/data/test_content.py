import io
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from circlet.data import DataError, FileReader, ImageSet, Splits, content_digest, straddling
from circlet.data.archive import ZipReader
from circlet.data.every_image import every_image


def noise(seed, mode="RGB"):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)).convert(mode)


def put(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed).save(path, "PNG")


def given(*images):
    names = [f"{i}" for i in range(len(images))]
    return ImageSet.from_classes(["c"] * len(names), names, lambda index: images[index].copy())


def test_files_by_their_bytes(tmp_path):
    for name, seed in (("a/1.png", 0), ("a/2.png", 1), ("b/other-name.png", 0)):
        put(tmp_path / name, seed)
    images = every_image(tmp_path)
    digests = [content_digest(images, index) for index in range(3)]
    assert digests[0] == digests[2] != digests[1]
    assert {len(digest) for digest in digests} == {16}
    chosen = pickle.loads(pickle.dumps(images.subset([2, 1]).subset([1, 0])))
    assert [content_digest(chosen, index) for index in range(2)] == [digests[1], digests[2]]
    (tmp_path / "b" / "other-name.png").unlink()
    with pytest.raises(DataError, match=r"^b/other-name.png: could not be read \(FileNotFoundError"):
        content_digest(images, 2)


def test_archive_members_as_files(tmp_path):
    data = io.BytesIO()
    noise(0).save(data, "PNG")
    (tmp_path / "a.png").write_bytes(data.getvalue())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/1.png", data.getvalue())
    zipped = ImageSet.from_classes(["c", "c"], ["1", "2"], ZipReader(str(tmp_path / "a.zip"), ("x/1.png", "x/2.png")))
    files = ImageSet.from_classes(["c"], ["a"], FileReader(str(tmp_path), ("a.png",)))
    assert content_digest(zipped, 0) == content_digest(files, 0)
    with pytest.raises(DataError, match=r"^2: could not be read"):
        content_digest(zipped, 1)


def test_pixels_where_there_are_no_files():
    palette = noise(0, "P")
    swapped = palette.copy()
    swapped.putpalette(palette.getpalette()[::-1])
    clear = palette.copy()
    clear.info["transparency"] = 3
    turned = noise(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.info["exif"] = exif.tobytes()
    different = [noise(0), noise(1), noise(0, "L"), noise(0).resize((7, 4))]
    images = given(*different, palette, swapped, clear, turned, noise(0))
    digests = [content_digest(images, index) for index in range(len(images))]
    assert digests[-1] == digests[0]
    assert len(set(digests[:-1])) == len(digests) - 1


def test_a_reader_that_fails_is_named():
    def fail(index):
        raise OSError("gone")

    images = ImageSet.from_classes(["c"], ["it.png"], fail)
    with pytest.raises(DataError, match=r"^it.png: could not be read \(OSError: gone\)"):
        content_digest(images, 0)


def test_what_straddles(tmp_path):
    for name, seed in (("1", 0), ("2", 1), ("3", 0), ("4", 3), ("5", 1)):
        put(tmp_path / f"{name}.png", seed)

    def images(classes, names, groups=None):
        names = [f"{name}.png" for name in names]
        return ImageSet.from_classes(classes, names, FileReader(str(tmp_path), tuple(names)), groups=groups)

    splits = Splits(images("aa", "12", [1, 2]), images("bb", "34", [3, 4]))
    assert straddling(splits) == ["1 file is in train and, byte for byte, in query: 1.png and 3.png."]
    splits = Splits(images("aa", "12", [1, 2]), images("b", "4", [2]), images("bb", "35", [2, 1]))
    assert straddling(splits) == [
        "1 group is in train and in query, expected all images of a group on one side: 2.png and 4.png.",
        "2 groups are in train and in gallery, expected all images of a group on one side: "
        "1.png and 5.png, 2.png and 3.png.",
        "2 files are in train and, byte for byte, in gallery: 1.png and 3.png, 2.png and 5.png.",
    ]
    assert straddling(Splits(images("a", "1"), images("b", "2"))) == []
    many = Splits(images("aaaaa", "12345", range(5)), images("bbbbb", "67890", range(5)))
    assert straddling(many)[0].endswith("3.png and 8.png, and 2 more.")


def test_boxes_of_one_photo_on_both_sides(tmp_path):
    put(tmp_path / "a.png", 0)
    table = tmp_path / "list.csv"
    table.write_text("path,label,bbox\na.png,x,0 0 2 2\na.png,y,2 2 2 2\n")
    images = every_image(table)
    splits = Splits(images.subset([0]), images.subset([1]))
    found = "1 file is in train and, byte for byte, in query: a.png#xywh=0,0,2,2 and a.png#xywh=2,2,2,2."
    assert straddling(splits) == [found]


def test_images_that_are_no_files_are_passed_over():
    splits = Splits(given(noise(0)), given(noise(0)), closed_set=True)
    assert straddling(splits) == []
