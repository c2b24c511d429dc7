"""Features of a frozen network: each image goes through it once, whatever it is called and however it is loaded."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from circlet.data import every_image
from circlet.data.pixels import Decoding, load_pixels
from circlet.models import Embedder, RawPixels, SmallResNet, View, embed_pixels
from circlet.transfer import Frozen, LinearMap, features, head_of
from circlet.transfer.features import LOOKS

CPU = torch.device("cpu")
DECODING = Decoding((20, 20), 3, "crop", False, 0, "raise", "bilinear")
VIEW = View((16, 16), 0.8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(12):
        (root / f"{i // 3}").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((30, 26)).save(root / f"{i // 3}" / f"{i}.png")
    return root


def a_model(seed=0):
    torch.manual_seed(seed)
    return Embedder(
        SmallResNet(3), 7, image_size=(16, 16), pooling="gem", head="linear", mean=(0.4,), std=(0.3,)
    )  # fmt: skip


class Counted(Frozen):
    """Counts the images that go through the network."""

    def __init__(self, model=None, view=VIEW, decoding=DECODING):
        super().__init__(model or a_model(), view, decoding, CPU)
        self.passed = 0

    def _features(self):
        network = super()._features()
        network.register_forward_pre_hook(lambda module, given: self._seen(given[0]))
        self._features = lambda: network
        return network

    def _seen(self, images):
        self.passed += len(images)


def pixels_of(root, **changes):
    return load_pixels(every_image(root), replace(DECODING, **changes))


def test_they_are_those_of_the_network_and_computed_once(photos):
    pixels, frozen = pixels_of(photos), Counted()
    first = frozen.features(pixels)
    assert frozen.passed == 12
    assert first.shape == (12, head_of(frozen.model).weight.shape[1])
    assert first.dtype == torch.float32
    expected = embed_pixels(FeaturesOf(frozen.model), pixels, VIEW, CPU, normalize=False)
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-4)
    frozen.passed = 0
    assert torch.equal(frozen.features(pixels), first)
    again = Counted()  # another process would find them too
    assert torch.equal(again.features(pixels_of(photos)), first)
    assert frozen.passed == again.passed == 0
    assert not first.requires_grad


class FeaturesOf(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.features(images)


def test_missing_counts_what_is_not_there(photos):
    pixels, frozen = pixels_of(photos), Counted()
    half = pixels_of(photos)
    half = load_pixels(half.images.subset(range(5)), DECODING)
    assert (frozen.missing(pixels), frozen.missing(pixels, 3)) == (12, 36)
    frozen.features(half)
    assert (frozen.missing(pixels), frozen.missing(half), frozen.missing(pixels, 2)) == (7, 0, 19)
    frozen.passed = 0
    frozen.features(pixels)
    assert frozen.passed == 7


def test_content_counts_not_the_name(photos, tmp_path):
    frozen = Counted()
    known = frozen.features(pixels_of(photos))
    (tmp_path / "other" / "c").mkdir(parents=True)
    for i in range(3):
        shutil.copy(photos / "0" / f"{i}.png", tmp_path / "other" / "c" / f"copy {2 - i}.png")
    frozen.passed = 0
    found = frozen.features(pixels_of(tmp_path / "other"))
    assert frozen.passed == 0
    assert torch.equal(found, known[:3].flip(0))
    Image.new("RGB", (9, 9), "red").save(tmp_path / "other" / "c" / "copy 1.png")  # the same name, another image
    found = frozen.features(pixels_of(tmp_path / "other"))
    assert frozen.passed == 1
    assert torch.equal(found[0], known[2])
    assert not torch.equal(found[1], known[1])


@pytest.mark.parametrize(
    "change",
    ["a weight", "a running mean", "view", "crop share", "size of decoding", "fit", "interpolation", "mean"],
)
def test_another_network_or_another_look_is_computed_anew(change, photos):
    pixels = pixels_of(photos)
    before = Counted().features(pixels)
    model, view, decoding = a_model(), VIEW, DECODING
    with torch.no_grad():
        match change:
            case "a weight":
                next(model.backbone.parameters()).view(-1)[0] += 0.5
            case "a running mean":
                next(b for name, b in model.backbone.named_buffers() if name.endswith("running_mean"))[0] += 0.5
            case "view":
                view = View((18, 18), 0.9)
            case "crop share":
                view = View((16, 16), 1.0)
            case "size of decoding":
                decoding = replace(decoding, size=(24, 20))
            case "fit":
                decoding = replace(decoding, fit="stretch")
            case "interpolation":
                decoding = replace(decoding, interpolation="nearest")
            case "mean":
                model.mean += 0.1
    frozen = Counted(model, view, decoding)
    after = frozen.features(load_pixels(pixels.images, decoding))
    assert frozen.passed == 12
    assert not torch.allclose(before, after, atol=1e-5)


def test_the_head_and_how_it_is_loaded_do_not_matter(photos):
    before = Counted().features(pixels_of(photos))
    model = a_model()
    torch.nn.init.zeros_(model.head.get_submodule("0" if isinstance(model.head, torch.nn.Sequential) else "").weight)
    frozen = Counted(model, decoding=replace(DECODING, in_memory=True))
    assert torch.equal(frozen.features(pixels_of(photos, in_memory=True)), before)
    assert frozen.passed == 0


def test_memory_and_disk_agree(photos, cache):
    lazily, memory = pixels_of(photos), pixels_of(photos, in_memory=True)
    first = Counted().features(lazily)
    shutil.rmtree(cache)
    frozen = Counted()
    assert torch.equal(frozen.features(memory), first)
    assert frozen.passed == 12


@pytest.mark.parametrize("flip", [False, True])
def test_embeddings_are_those_of_the_model(flip, photos):
    """With the model's head, in the views that testing asks for, as `circlet.models.embed` adds them up."""
    pixels = pixels_of(photos)
    view = replace(VIEW, flip=flip)
    frozen = Counted(view=view)
    found = frozen.embeddings(pixels, head_of(frozen.model))
    assert frozen.passed == 12 * (1 + flip)
    torch.testing.assert_close(found, embed_pixels(a_model(), pixels, view, CPU), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(12))
    plain = frozen.embeddings(pixels)
    assert plain.shape == (12, frozen.features(pixels).shape[1])
    assert frozen.passed == 12 * (1 + flip)


def test_looks_are_the_parts_of_the_image_and_their_mirror_images(photos):
    pixels, frozen = pixels_of(photos), Counted()
    found = frozen.looks(pixels, 10)
    assert found.shape[:2] == (10, 12)
    assert torch.equal(frozen.looks(pixels), found[:1])
    assert frozen.passed == 120
    decoded = torch.cat(list(pixels.batches(12)))  # 20 x 20, of which 16 x 16 are seen
    corners = {(-1, -1): (0, 0), (1, 1): (4, 4), (-1, 1): (0, 4), (1, -1): (4, 0), (0, 0): (2, 2)}
    for look, rows in zip(LOOKS, found, strict=True):
        y, x = corners[look.place]
        seen = decoded[:, :, y : y + 16, x : x + 16].float() / 255
        with torch.no_grad():
            expected = frozen.model.eval().features(seen.flip(3) if look.mirrored else seen)
        torch.testing.assert_close(rows, expected, atol=1e-4, rtol=1e-3)


def test_mirror_images_are_kept_apart(photos):
    pixels, frozen = pixels_of(photos), Counted()
    plain, mirrored = frozen.features(pixels), frozen.features(pixels, LOOKS[1])
    assert frozen.passed == 24
    assert not torch.allclose(plain, mirrored, atol=1e-4)
    assert torch.equal(frozen.features(pixels, LOOKS[1]), mirrored)
    assert frozen.passed == 24


def test_raw_pixels(photos):
    pixels, frozen = pixels_of(photos), Counted()
    found = frozen.raw_pixels(pixels)
    torch.testing.assert_close(found, embed_pixels(RawPixels(frozen.model), pixels, VIEW, CPU), atol=1e-5, rtol=1e-4)
    assert torch.equal(Counted(a_model(seed=1)).raw_pixels(pixels), found)  # no weight has a part in it
    assert frozen.passed == 0


def test_how_the_model_was_is_how_it_is_afterwards(photos):
    model = a_model().train()
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    Counted(model).features(pixels_of(photos))
    assert model.training
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in model.named_buffers())


class Clocked(Counted):
    """Each batch takes as long as it is told to, by a clock of its own."""

    def __init__(self, monkeypatch, seconds, first):
        super().__init__()
        self.now, self.seconds, self.first = 0.0, seconds, first
        monkeypatch.setattr(features, "monotonic", lambda: self.now)

    def _seen(self, images):
        self.now += self.seconds if self.passed else self.first
        super()._seen(images)


def test_speed_is_measured_in_images_a_second(photos, monkeypatch):
    whole, one = pixels_of(photos), load_pixels(pixels_of(photos).images.subset([0]), DECODING)
    assert Clocked(monkeypatch, 0.2, 0.2).images_per_second(whole) == pytest.approx(60)
    frozen = Clocked(monkeypatch, 0.2, 0.2)
    assert frozen.images_per_second(one) == pytest.approx(5)
    assert frozen.missing(whole) == 12  # nothing is kept of it


def test_speed_of_many_batches_is_measured_for_a_while(photos, monkeypatch):
    monkeypatch.setattr(features, "batch_size", lambda size: 1)
    frozen = Clocked(monkeypatch, 0.1, 0.4)
    assert frozen.images_per_second(pixels_of(photos), seconds=0.5) == pytest.approx(10)  # but for the slow first
    assert frozen.passed < 12
    frozen = Clocked(monkeypatch, 0.1, 0.4)
    frozen.images_per_second(pixels_of(photos), seconds=0.05)
    assert frozen.passed == 1  # one that takes too long is enough


def test_a_head_may_be_any_map(photos):
    frozen = Counted()
    size = frozen.features(pixels_of(photos)).shape[1]
    found = frozen.embeddings(pixels_of(photos), LinearMap(torch.zeros(2, size), torch.tensor([3.0, 4.0])))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8]]).expand(12, 2))
