"""A model: what it embeds is what is tested, its digest is of what decides that, and it passes over what is broken."""

import copy
from dataclasses import replace

import pytest
import torch

from circlet.data import every_image
from circlet.data.pixels import load_pixels
from circlet.inference import Model
from circlet.inference import model as models
from circlet.models import View, embed_pixels
from tests.index.tiny import photo, photos, tiny_model


def like(model, **changes):
    """The model with something else about it."""
    settings = {"network": model.network, "view": model.view, "decoding": model.decoding, "name": model.name, **changes}
    network, view, decoding = (settings.pop(name) for name in ("network", "view", "decoding"))
    return Model(network, view, decoding, device="cpu", **settings)


def test_vectors_are_those_of_testing(tmp_path):
    images = every_image(photos(tmp_path / "photos"))
    for view in (View((12, 12), 0.75), View((12, 12), 0.75, flip=True), View((12, 12), five_crops=True)):
        model = like(tiny_model(), view=view)
        expected = embed_pixels(model.network, load_pixels(images, model.decoding), view, torch.device("cpu"))
        found = model.embed(images, show_progress=False)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(images)))


def test_kept_features_give_the_same_vectors(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    root = photos(tmp_path / "photos")
    plain, kept = tiny_model(), tiny_model(kept=True)
    assert kept.digest == plain.digest
    for _ in range(2):
        torch.testing.assert_close(kept.embed(root, show_progress=False), plain.embed(root, show_progress=False),
                                   atol=1e-5, rtol=1e-4)  # fmt: skip
    assert list((tmp_path / "cache" / "features").glob("*/*.npy"))


def test_what_is_in_memory_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    path = photo(tmp_path / "a.png", (1, 2, 3))
    tiny_model(kept=True).embed(path.read_bytes(), show_progress=False)
    assert not (tmp_path / "cache").exists()


def test_the_digest_is_of_what_decides_the_vectors():
    model = tiny_model()
    assert len(model.digest) == 32
    assert like(model, name="other").digest == model.digest
    assert tiny_model(kept=True).digest == tiny_model().digest
    other = copy.deepcopy(model.network)
    other.head[0].bias.data[0] += 1e-4
    mean = copy.deepcopy(model.network)
    mean.mean += 0.01
    pooled = copy.deepcopy(model.network)
    pooled.pooling = torch.nn.Sequential(torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten())
    changed = [
        {"network": other},
        {"network": mean},
        {"network": pooled},
        {"view": View((12, 12), 0.8)},
        {"view": View((12, 12), 0.75, flip=True)},
        {"decoding": replace(model.decoding, size=(18, 18))},
        {"decoding": replace(model.decoding, fit="pad")},
        {"decoding": replace(model.decoding, interpolation="lanczos")},
    ]
    digests = [model.digest, *(like(model, **change).digest for change in changed)]
    assert len(set(digests)) == len(digests)
    assert like(model, decoding=replace(model.decoding, workers=3, max_megapixels=9.0)).digest == model.digest
    counted = copy.deepcopy(model.network)
    counted.backbone[1].num_batches_tracked += 5
    assert like(model, network=counted).digest == model.digest


def test_the_digest_does_not_change_with_versions():
    """A golden number: indexes of today must be opened tomorrow. Its weights come from no generator of numbers."""
    model = tiny_model()
    with torch.no_grad():
        for i, tensor in enumerate(model.network.state_dict().values()):
            tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) / 64 + i)
    assert model.digest == "21922c03d20ea4f621ad4213300473f5"


def test_broken_images_are_named_and_passed_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "LEAST_PART", 3)
    root = photos(tmp_path / "photos", 4, 2)
    (root / "class 1" / "broken.png").write_bytes(b"no image")
    (root / "class 2" / "empty.png").touch()
    images = every_image(root)
    model = tiny_model()
    left, rows = model.embed_images(images, on_error="skip", show_progress=False)
    assert len(images) == 10
    assert len(left) == len(rows) == 8
    error = capsys.readouterr().err
    assert "broken.png" in error
    assert "empty.png" in error
    expected = model.embed(left, show_progress=False)
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(model.embed_images(left, show_progress=False)[1], expected)
    parts = list(model.embed_parts(images))
    assert [len(part.indices) + len(part.broken) for part in parts] == [3, 6, 1]
    assert sorted(index for part in parts for index, _ in part.broken) == [
        images.names.index("class 1/broken.png"), images.names.index("class 2/empty.png"),
    ]  # fmt: skip


def test_nothing_but_broken_images(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no image")
    assert tiny_model().embed(tmp_path / "a.png", on_error="skip", show_progress=False).shape == (0, 8)
    assert "a.png" in capsys.readouterr().err


def test_no_image_gives_no_row():
    assert tiny_model().embed([], show_progress=False).shape == (0, 8)
    with pytest.raises(ValueError, match="on_error: found 'ignore'"):
        tiny_model().embed([], on_error="ignore")


def test_called_it_is_the_network():
    model = tiny_model()
    batch = torch.zeros(2, 3, 12, 12, dtype=torch.uint8)
    torch.testing.assert_close(model(batch), model.network(batch))
    assert not model.network.training
    assert (model.dim, model.embedding_dim) == (8, 8)
    assert repr(model).startswith("Model('tiny-0', dim=8, 12 x 12 px, ")
