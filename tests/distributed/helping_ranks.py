"""What one rank does in the tests of ranks that help (a module of its own, for spawned processes)."""

import os
import shutil
from functools import partial
from itertools import pairwise

import pyarrow.parquet
import pytest
import torch
import torch.distributed as dist
from torch import nn

from circlet.data import DataError, every_image
from circlet.data.pixels import Decoding, Pixels, load_pixels
from circlet.distributed import helpers, led, led_to, num_ranks, on_rank_0
from circlet.evaluate import identification, reid, retrieval, retrieval_by_query, spread
from circlet.inference import parts
from circlet.inference.parts import embed_in_parts
from circlet.models import Embedder, SmallResNet, View, embed_pixels, embed_sets
from circlet.transfer import Frozen
from tests.index.tiny import tiny_model

CPU = torch.device("cpu")
VIEW = View((16, 16), flip=True)
DECODING = Decoding((16, 16))


def a_model():
    torch.manual_seed(0)
    return Embedder(SmallResNet(3), 7, image_size=(16, 16), mean=(0.4,), std=(0.3,)).eval()


def as_if_large():
    """Eight images are a batch, so that a few dozen are many; the fewest neighbours are shared out."""
    embed_sets.BATCH_PIXELS = 1
    spread.SHARED_PAIRS = 1


def leads(rank, folder):
    """Results, errors and what is not shared out."""
    assert led(lambda: (rank, helpers())) == (0, num_ranks(None))
    assert led_to(lambda: rank) == (0 if rank == 0 else None)
    assert helpers() == 1
    assert led(lambda: on_rank_0(lambda: num_ranks(None))) == 1
    assert on_rank_0(lambda: led(helpers)) == 1
    with pytest.raises(ZeroDivisionError) if rank == 0 else pytest.raises(SystemExit, match="1"):
        led(lambda: 1 / 0)


def embeds(rank, folder, numbers=(1, 9, 45)):
    """Rows of all ranks are those of one process, bit for bit, from memory and from files, however few or many."""
    as_if_large()
    model, everything = a_model(), load_pixels(every_image(folder / "photos"), DECODING)
    for number in numbers:
        files = everything.part(slice(0, number))
        memory = Pixels(files.images, torch.cat(list(files.batches(8))), None)
        for pixels in (files, memory):
            for view in (VIEW, View((12, 12), five_crops=True))[: 1 + (number == 9)]:
                found = led_to(lambda p=pixels, v=view: embed_pixels(model, p, v, CPU))
                if rank == 0:
                    assert torch.equal(found, embed_pixels(model, pixels, view, CPU))
    found = led_to(lambda: embed_pixels(model, everything, VIEW, CPU, file=folder / f"rows {num_ranks(None)}"))
    if rank == 0:
        assert torch.equal(found, embed_pixels(model, everything, VIEW, CPU))


def embeds_by_what_is_kept(rank, folder):
    """Of features of a frozen network those that are missing are shared out, and rank 0 keeps them."""
    as_if_large()
    os.environ["CIRCLET_CACHE"] = str(folder / f"cache {num_ranks(None)} {rank}")
    frozen = Frozen(a_model(), VIEW, DECODING, CPU)
    pixels = load_pixels(every_image(folder / "photos"), DECODING)
    some = led_to(lambda: frozen.embeddings(pixels.part(slice(10, 20))))
    found = led_to(lambda: frozen.embeddings(pixels))
    raw = led_to(lambda: frozen.raw_pixels(pixels))
    assert (folder / f"cache {num_ranks(None)} {rank}").exists() == (rank == 0)
    if rank == 0:
        assert frozen.missing(pixels, 2) == 0
        assert torch.equal(some, found[10:20])
        os.environ["CIRCLET_CACHE"] = str(folder / f"cache {num_ranks(None)} alone")
        frozen.embeddings(pixels.part(slice(10, 20)))
        assert torch.equal(found, frozen.embeddings(pixels))
        assert torch.equal(raw, frozen.raw_pixels(pixels))


def passes_over_broken_images(rank, folder):
    """An image that a helper cannot read is an error on rank 0, which may go on."""
    as_if_large()
    model, images = tiny_model(), every_image(folder / "broken")

    def works():
        with pytest.raises(DataError, match=r"z\.png"):
            model.embed_images(images, show_progress=False)
        return list(model.embed_parts(images))

    parts = led_to(works)
    if rank == 0:
        alone = list(model.embed_parts(images))
        assert [part.indices for part in parts] == [part.indices for part in alone]
        assert [part.broken for part in parts] == [part.broken for part in alone]
        torch.testing.assert_close(torch.cat([p.rows for p in parts]), torch.cat([p.rows for p in alone]))
    with pytest.raises(DataError, match=r"z\.png") if rank == 0 else pytest.raises(SystemExit, match="1"):
        led(lambda: model.embed_images(images, show_progress=False))


def writes_parts(rank, folder):
    """Each rank makes parts of its own; fewer parts than ranks too."""
    parts.load_model = lambda source, **options: tiny_model()
    images = every_image(folder / "photos")
    for part_images in (4, 40):
        out = folder / f"parts of {part_images} on {num_ranks(None)}"
        for made in (45, 0):
            found = led_to(lambda n=part_images, out=out: embed_in_parts("run", images, out, part_images=n))
            assert rank > 0 or found[:2] == (45, made)
        if rank == 0:
            rows = pyarrow.parquet.read_table(out)
            embed_in_parts("run", images, folder / "alone", part_images=part_images)
            assert rows.equals(pyarrow.parquet.read_table(folder / "alone"))
            shutil.rmtree(folder / "alone")


def fills_the_disk(rank, folder):
    as_if_large()
    pixels = load_pixels(every_image(folder / "photos"), DECODING)
    with pytest.raises(OSError, match="No space left") if rank == 0 else pytest.raises(SystemExit, match="1"):
        led_to(lambda: embed_pixels(a_model(), pixels, VIEW, CPU, file="/dev/full"))


def does_alone_what_cannot_be_sent(rank, folder):
    as_if_large()

    class Local(nn.Flatten):
        pass

    pixels = load_pixels(every_image(folder / "photos"), DECODING)
    found = led_to(lambda: embed_pixels(Local(), pixels, VIEW, CPU))
    assert rank > 0 or found.shape == (len(pixels), 3 * 16 * 16)


def rows(number, dim=5, seed=0):
    """Rows of length 1 or 2, one of zeros, and labels of which some are lone.

    Many similarities are equal, and all are exact: in whatever order a processor sums products of this or that size.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (number, dim), generator=generator) * 2.0 - 1.0
    count = torch.randint(0, 2, (number, 1), generator=generator) * 3 + 1
    found = signs * (torch.rand(number, dim, generator=generator).argsort(1) < count)
    found[number // 2] = 0
    return found, torch.randint(0, max(number // 4, 2), (number,), generator=generator)


def uneven(number, ranks):
    """Bounds of parts of all sizes, the last of none."""
    ends = [0, *[number * (2 * rank + 1) // (2 * ranks) for rank in range(1, ranks - 1)], number, number]
    return [slice(a, b) for a, b in pairwise(ends)]


def asked(number, with_gallery, with_groups, seed=0):
    embeddings, labels = rows(number, seed=seed)
    given = {"embeddings": embeddings, "labels": labels}
    if with_gallery:
        gallery, gallery_labels = rows(number + 9, seed=seed + 1)
        given |= {"gallery": gallery, "gallery_labels": gallery_labels}
    if with_groups:
        given |= {"groups": labels % 3 + labels.numel() * (labels > 2)}
        if with_gallery:
            given |= {"gallery_groups": gallery_labels % 3}
    return given


def same(found, expected):
    """Equal to the last bit, whatever it holds."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            same(found[name], value)
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found.nan_to_num(-1), expected.nan_to_num(-1))
    elif hasattr(expected, "__dict__"):
        same(vars(found), vars(expected))
    else:
        assert found == expected


def own(given, ranks, rank):
    """This rank's rows of all that is given; the gallery is cut elsewhere than the queries."""
    bounds = {len(value): uneven(len(value), len(ranks))[rank] for value in given.values()}
    return {name: value[bounds[len(value)]].clone() for name, value in given.items()}


def finds_neighbours(rank, folder):
    """Retrieval of rows that are spread over the ranks, or led by rank 0, is that of one process."""
    as_if_large()
    ranks = range(num_ranks(None))
    for number in (2, 70):
        for with_gallery in (False, True):
            for with_groups in (False, True):
                given = asked(number, with_gallery, with_groups)
                mine = own(given, ranks, rank)
                for block_size in (24, 200):  # k above an eighth of it: by sorting
                    settings = {"block_size": block_size, "precision_ks": (1,)}
                    alone = retrieval_by_query(**given, **settings)
                    same(retrieval_by_query(**mine, **settings, over_ranks=True), alone)
                    found = led_to(lambda given=given, settings=settings: retrieval_by_query(**given, **settings))
                    if rank == 0:
                        same(found, alone)
    given = asked(150, True, False)
    expected = retrieval(**given, ks=(1, 5))
    assert retrieval(**own(given, ranks, rank), ks=(1, 5), over_ranks=True) == expected
    last = rank == num_ranks(None) - 1
    mine = own(asked(40, False, False), ranks, rank)
    mine["embeddings"] = torch.full((1, 5), torch.nan) if last else mine["embeddings"]
    mine["labels"] = torch.zeros(1).long() if last else mine["labels"]
    with pytest.raises(ValueError, match="nan or inf" if last else "found bad ones on ranks"):
        retrieval(**mine, over_ranks=True)


def finds_persons(rank, folder):
    as_if_large()
    ranks = range(num_ranks(None))
    for number in (60,):
        (query, query_ids), (gallery, gallery_ids) = rows(number), rows(number + 50, seed=1)
        query_ids, gallery_ids = query_ids % 9, gallery_ids % 10 - 1
        given = {"query": query, "query_ids": query_ids, "query_cams": query_ids % 2 + (torch.arange(number) % 3),
                 "gallery": gallery, "gallery_ids": gallery_ids,
                 "gallery_cams": torch.arange(number + 50) % 4}  # fmt: skip
        for block_size in (33, 1000):
            for convention in ("step", "trapezoid"):
                settings = {"average_precision": convention, "block_size": block_size}
                alone = reid(**given, **settings)
                same(reid(**own(given, ranks, rank), **settings, over_ranks=True), alone)
                found = led_to(lambda given=given, settings=settings: reid(**given, **settings))
                if rank == 0:
                    same(found, alone)


def finds_faces(rank, folder):
    as_if_large()
    (probes, ids), (distractors, _) = rows(30), rows(100, seed=2)
    for block_size in (8, 1000):
        settings = {"ranks": (1, 10, 100), "fars": (1e-3, 0.1, 1.0), "block_size": block_size}
        alone = identification(probes, ids, distractors, **settings)
        mine = distractors[uneven(100, num_ranks(None))[rank]]
        assert identification(probes, ids, mine, **settings, over_ranks=True) == alone
        for form in (distractors, distractors.numpy()):
            found = led_to(lambda form=form, settings=settings: identification(probes, ids, form, **settings))
            assert rank > 0 or found == alone


def all_of_it(rank, folder):
    for check in (leads, embeds, embeds_by_what_is_kept, finds_neighbours, finds_persons, finds_faces, writes_parts,
                  does_alone_what_cannot_be_sent, passes_over_broken_images, fills_the_disk):  # fmt: skip
        check(rank, folder)
        dist.barrier()


def metrics_and_rows(rank, folder):
    for check in (partial(embeds, numbers=(9,)), finds_neighbours, finds_persons, finds_faces):
        check(rank, folder)
        dist.barrier()
